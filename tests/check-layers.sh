#!/bin/sh
# Who may include whom: a scan of the #include lines of each folder. Prints each breach; exit 1 if there is any.
set -u
breaches=0

# allow FOLDER PATTERN: every quoted include of FOLDER's files matches the extended regular expression.
allow() {
    for file in "$1"/*.[ch]; do
        [ -e "$file" ] || continue
        bad=$(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file" |
            grep -Ev "$2")
        [ -z "$bad" ] || { echo "$file includes $(echo $bad)"; breaches=1; }
    done
}
# forbid FOLDER PATTERN: no angle-bracket include of FOLDER's files matches.
forbid() {
    for file in "$1"/*.[ch]; do
        [ -e "$file" ] || continue
        bad=$(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*<\([^>]*\)>.*/\1/p' "$file" |
            grep -E "$2")
        [ -z "$bad" ] || { echo "$file includes <$(echo $bad)>"; breaches=1; }
    done
}
# order FOLDER NAME...: within FOLDER, a file includes only headers of its own name or of names further along the list.
order() {
    folder=$1
    shift
    position=0
    for name in "$@"; do
        position=$((position + 1))
        eval "rank_$(echo "$name" | tr - _)=$position"
    done
    for file in "$folder"/*.[ch]; do
        [ -e "$file" ] || continue
        own=$(basename "$file" | sed 's/\.[ch]$//' | tr - _)
        eval "own_rank=\${rank_$own:-}"
        [ -n "$own_rank" ] || { echo "$file: no place in the order of $folder (tests/check-layers.sh)"; breaches=1; continue; }
        for header in $(sed -n "s,^[[:space:]]*#[[:space:]]*include[[:space:]]*\"$folder/\([^\"]*\)\.h\".*,\1,p" "$file"); do
            eval "rank=\${rank_$(echo "$header" | tr - _):-0}"
            [ "$rank" -ge "$own_rank" ] || { echo "$file includes $folder/$header.h, against the order"; breaches=1; }
        done
    done
}

allow common '^common/'
forbid common '^(stdio|stdlib|malloc|event2|protobuf-c)'
allow proto '^(common/|proto/|hakmem\.pb-c\.h$)'
allow hakmemd '^(common/|proto/|hakmemd/)'
allow libclient '^(common/|proto/|libclient/|hakmem\.h$)'
forbid libclient '^(stdio|event2|systemd|malloc\.h|jansson)'
allow hakmemctl '^(common/|proto/|hakmemctl/)'
[ ! -f tests/layer-order.sh ] || . ./tests/layer-order.sh
[ "$breaches" -eq 0 ] && echo "layers hold"
exit "$breaches"
