#!/bin/sh
# Each program of tests/misuse does one thing wrong. Its first line says what the library says of it, and in which modes it
# is stopped:
#     /* expect: double free in: normal check */
# check is HAKMEM_CHECK=1. Stopped is: that message on standard error, then abort(). In no mode may a program that does
# nothing wrong be stopped: the model runs in both, too.
. "$(dirname "$0")/../lib.sh"
need_library
n_programs=0 n_stopped_normal=0 n_stopped_check=0 n_wrong=0

# run MODE PROGRAM: status in $status, messages in $scratch/err.
run() {
    check=0
    [ "$1" = normal ] || check=1
    env LD_PRELOAD="$library" HAKMEM_CONNECT=off HAKMEM_CHECK="$check" timeout 20 "$2" >/dev/null 2>"$scratch/err"
    status=$?
}
for source in "$tests"/misuse/*.c; do
    name=$(basename "$source" .c)
    first=$(sed -n 1p "$source")
    expected=$(echo "$first" | sed -n 's,^/\* expect: \(.*\) in: .*\*/$,\1,p')
    modes=$(echo "$first" | sed -n 's,.* in: \(.*\) \*/$,\1,p')
    [ -n "$expected" ] && [ -n "$modes" ] || fail "$name: the first line does not say what to expect"
    n_programs=$((n_programs + 1))
    for mode in normal check; do
        run "$mode" "$BUILD/tests/misuse/$name"
        stopped=no
        [ "$status" -eq 134 ] && grep -q "^hakmem: .*" "$scratch/err" && stopped=yes
        [ "$stopped" = no ] || eval "n_stopped_$mode=\$((n_stopped_$mode + 1))"
        case " $modes " in
        *" $mode "*)
            if [ "$stopped" = no ]; then
                echo "$name: $mode: not stopped (status $status): $(cat "$scratch/err")"
                n_wrong=$((n_wrong + 1))
            elif ! grep -q "^hakmem: .*$expected" "$scratch/err" && [ "$expected" != "hakmem: " ]; then
                echo "$name: $mode: expected \"$expected\", but: $(cat "$scratch/err")"
                n_wrong=$((n_wrong + 1))
            fi
            ;;
        esac
    done
done
echo "$n_programs programs: $n_stopped_normal stopped in normal mode, $n_stopped_check with HAKMEM_CHECK=1"

under_private env HAKMEM_CHECK=1 "$programs/prog-malloc-model" 3 4 1 100 2>"$scratch/err" ||
    fail "HAKMEM_CHECK=1 stops a right program: $(tail -n 3 "$scratch/err")"
grep -q '"fallbacks"' "$scratch/err" || fail "the library did not serve the model"
[ "$n_wrong" -eq 0 ] || fail "$n_wrong wrong"
