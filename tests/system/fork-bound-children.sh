#!/bin/sh
# No child ever finds its snapshot damaged because its parent gives back what it has copied: children of all makes, alive
# while the parent rewrites its heap, forks again, and tries to give back.
. "$(dirname "$0")/../lib.sh"
need_library
need make stat
heap=16000000
. "$(dirname "$0")/fork-bound.inc"

daemon_start_bound
for run in "nested 5" "deep 1" "survivor 1" "exec 3" "raw 4" "early 2"; do
    # shellcheck disable=SC2086
    expect_whole $run
done
# Without our descriptors there is no proof, and so no giving back; nothing is lost by that.
under closing 5 0
[ "$status" -eq 0 ] || fail "closing: status $status: $(cat "$scratch/out" "$scratch/err")"
[ "$(tail -n 1 "$scratch/err" | json_get witnesses_lost)" -gt 0 ] || fail "closing: no witness was lost"
# The daemon has taken its client for gone since it closed the socket, and looks ever more seldom.
poll 60 daemon_has_all_back || fail "closing: left over: $("$BUILD/hakmemctl" --socket "$socket" stats)"

# The test of the test: a library that does not wait for the children must fail here.
root=$(cd "$tests/.." && pwd)
debug=$BUILD/debug
make -s -C "$root" DEBUG=1 SAN= BUILD="$debug" "$debug/libhakmem.so" >"$scratch/make" 2>&1 ||
    fail "debug build: $(tail -n 20 "$scratch/make")"
library=$debug/libhakmem.so
under overlap 5 0
[ "$status" -eq 0 ] || fail "debug build: status $status: $(cat "$scratch/out" "$scratch/err")"
for run in "overlap 5" "nested 5" "raw 4" "early 2"; do
    export HAKMEM_TEST_BLIND_WITNESS=1
    # shellcheck disable=SC2086
    under $run 0
    unset HAKMEM_TEST_BLIND_WITNESS
    [ "$status" -eq 3 ] || fail "$run, not waiting for children: status $status, and not 3: $(cat "$scratch/out" "$scratch/err")"
done
