#!/bin/sh
# Small programs hold no more than 3 MB more than with the C library's malloc: by the daemon, and alone.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm

# peak COMMAND...: what it had resident at most, in KiB: the least of a few runs, as the kernel maps more or less of files.
peak() {
    for _ in 1 2 3; do
        "$@" 2>"$scratch/err" || fail "$*: $(tail -n 3 "$scratch/err")"
    done | sort -n | head -n 1
}
n_programs=0
within() {
    command -v "$1" >/dev/null || return 0
    plain=$(peak "$programs/prog-peak" "$@") || exit 1
    leased=$(peak under_hakmem "$programs/prog-peak" "$@") || exit 1
    alone=$(peak under_private "$programs/prog-peak" "$@") || exit 1
    echo "$plain KiB, $((leased - plain)) more by the daemon, $((alone - plain)) alone: $*"
    [ "$1" = ls ] || grep -q "\"fallbacks\"" "$scratch/err" || fail "$1: the library did not serve it"
    for more in $((leased - plain)) $((alone - plain)); do
        [ "$more" -le 3000 ] || fail "$1 holds $more KiB more"
    done
    n_programs=$((n_programs + 1))
}
within ls -lR "$tests"
within sort "$tests/lib.sh"
within sed p "$tests/lib.sh"
within tar cf /dev/null "$tests/system"
within awk 'BEGIN { for (i = 0; i < 20000; i++) a[i] = i }'
within sqlite3 :memory: 'select 1'
within git --version
within perl -e 1
[ "$n_programs" -ge 5 ] || fail "only $n_programs programs are here"
