#!/bin/sh
# No child ever finds its snapshot damaged because its parent gives back what it has copied: children of all makes, alive
# while the parent rewrites its heap, forks again, and tries to give back.
. "$(dirname "$0")/../lib.sh"
need_library
need make stat
. "$(dirname "$0")/fork-bound.inc"

daemon_start_bound
expect_bound nested 5
expect_bound deep 2
expect_bound survivor 2
expect_bound exec 3
expect_bound raw 6
expect_bound early 3
# Without our descriptors there is no proof, and so no giving back; nothing is lost by that.
under closing 5 0
[ "$status" -eq 0 ] || fail "closing: status $status: $(cat "$scratch/out" "$scratch/err")"
[ "$(tail -n 1 "$scratch/err" | json_get witnesses_lost)" -gt 0 ] || fail "closing: no witness was lost"
expect_all_back

# The test of the test: a library that does not wait for the children must fail here.
root=$(cd "$tests/.." && pwd)
debug=$BUILD/debug
make -s -C "$root" DEBUG=1 SAN= BUILD="$debug" "$debug/libhakmem.so" >"$scratch/make" 2>&1 ||
    fail "debug build: $(tail -n 20 "$scratch/make")"
library=$debug/libhakmem.so
under overlap 5 0
[ "$status" -eq 0 ] || fail "debug build: status $status: $(cat "$scratch/out" "$scratch/err")"
for run in "overlap 5" "nested 5" "raw 4" "early 3"; do
    export HAKMEM_TEST_BLIND_WITNESS=1
    # shellcheck disable=SC2086
    under $run 0
    unset HAKMEM_TEST_BLIND_WITNESS
    [ "$status" -eq 3 ] || fail "$run, not waiting for children: status $status, and not 3: $(cat "$scratch/out" "$scratch/err")"
done
