#!/bin/sh
# Each program of tests/misuse does one thing wrong. Its first line says what the library says of it, and in which modes it
# is stopped with these words:
#     /* expect: double free in: normal guards check */
# normal: no setting. check: HAKMEM_CHECK=1. guards: the same where there is no room for fences (here, under a limit of
# address space), as for the blocks beyond the first 16384. fault: with no setting, by the bare signal. none: it is not stopped, or not by us. In no mode may a program
# that does nothing wrong be stopped: the model runs in all of them, too.
# Stopped is whoever ends by a signal; for comparison, the C library's malloc runs them as well.
. "$(dirname "$0")/../lib.sh"
need_library
ulimit -c 0

# run_all MODE: each program; $scratch/MODE/NAME has its messages, NAME.status how it ended. One that hangs runs into the
# limit of processor time, or of the test's.
run_all() {
    mkdir "$scratch/$1"
    for program in "$BUILD"/tests/misuse/*; do
        [ -x "$program" ] || continue
        out=$scratch/$1/${program##*/}
        "$program" >/dev/null 2>"$out"
        echo $? >"$out.status"
    done
}
under_library() {
    LD_PRELOAD=$library HAKMEM_CONNECT=off HAKMEM_CHECK=$1
    export LD_PRELOAD HAKMEM_CONNECT HAKMEM_CHECK
}
ulimit -t 20
(run_all glibc && under_library 0 && run_all normal) 2>/dev/null &
background_pids=$!
(under_library 1 && run_all check && ulimit -v 4194304 && run_all guards) 2>/dev/null
wait "$background_pids"
background_pids=

n_programs=0 n_wrong=0 n_glibc=0 n_normal=0 n_check=0 n_guards=0
wrong() {
    echo "$*"
    n_wrong=$((n_wrong + 1))
}
for source in "$tests"/misuse/*.c; do
    name=${source##*/}
    name=${name%.c}
    IFS= read -r first <"$source"
    modes=${first##* in: }
    modes=${modes% \*/}
    expected=${first#/\* expect: }
    expected=${expected% in: *}
    [ "/* expect: $expected in: $modes */" = "$first" ] || fail "$name: the first line does not say what to expect"
    [ -x "$BUILD/tests/misuse/$name" ] || fail "$name is not built"
    n_programs=$((n_programs + 1))
    for mode in glibc normal guards check; do
        read -r status <"$scratch/$mode/$name.status"
        # 128 and more: a signal.
        [ "$status" -lt 128 ] || eval "n_$mode=\$((n_$mode + 1))"
        case " $modes " in
        *" $mode "*) ;;
        *" fault "*)
            [ "$mode" != normal ] || [ "$status" -eq 139 ] || wrong "$name: no fault, but status $status"
            continue
            ;;
        *) continue ;;
        esac
        if [ "$status" -ne 134 ]; then
            wrong "$name: $mode: not stopped (status $status): $(cat "$scratch/$mode/$name")"
        elif ! grep -q "^hakmem: .*\($expected\).* 0x[0-9a-f]\|^$expected" "$scratch/$mode/$name"; then
            wrong "$name: $mode: expected \"$expected\", but: $(cat "$scratch/$mode/$name")"
        fi
    done
done
echo "of $n_programs programs are stopped: $n_glibc by the C library; $n_normal in normal mode, $n_check by HAKMEM_CHECK=1" \
    "($n_guards without fences)"
[ "$n_wrong" -eq 0 ] || fail "$n_wrong wrong"
[ "$n_programs" -ge 116 ] || fail "only $n_programs programs"
[ "$n_normal" -gt "$n_glibc" ] || fail "the C library stops more"
[ $((n_check * 100)) -ge $((n_programs * 95)) ] || fail "HAKMEM_CHECK=1 stops fewer than 95 %"

for mode in fences guards; do
    (
        [ "$mode" = fences ] || ulimit -v 8388608
        under_private env HAKMEM_CHECK=1 "$programs/prog-malloc-model" 3 4 1 100
    ) 2>"$scratch/err" || fail "HAKMEM_CHECK=1, $mode, stops a right program: $(tail -n 3 "$scratch/err")"
    grep -q '"fallbacks"' "$scratch/err" || fail "the library did not serve the model"
    for round in 1 2 3 4 5; do
        (
            ulimit -c 0
            [ "$mode" = fences ] || ulimit -v 8388608
            under_private env HAKMEM_CHECK=1 "$programs/prog-free-at-exit"
        ) 2>"$scratch/err" || fail "HAKMEM_CHECK=1, $mode, stops a program that frees at its end, round $round: $(tail -n 3 "$scratch/err")"
    done
done
