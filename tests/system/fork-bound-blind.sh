#!/bin/sh
# The test of fork-bound-children.sh: a debug build of the library that can be told not to wait for the children before it
# gives back must fail there, and must not without being told.
. "$(dirname "$0")/../lib.sh"
need stat
heap=16000000
. "$(dirname "$0")/fork-bound.inc"

daemon_start_bound
use_debug_library
under nested 5 0
[ "$status" -eq 0 ] || fail "debug build: status $status: $(cat "$scratch/out" "$scratch/err")"
for run in "nested 5" "raw 4" "early 2"; do
    export HAKMEM_TEST_BLIND_WITNESS=1
    # shellcheck disable=SC2086
    under $run 0
    unset HAKMEM_TEST_BLIND_WITNESS
    [ "$status" -eq 3 ] || fail "$run, not waiting for children: status $status, and not 3: $(cat "$scratch/out" "$scratch/err")"
done
