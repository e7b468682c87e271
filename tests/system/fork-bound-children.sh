#!/bin/sh
# No child ever finds its snapshot damaged because its parent gives back what it has copied: children of all makes, alive
# while the parent rewrites its heap, forks again, and tries to give back.
. "$(dirname "$0")/../lib.sh"
need_library
need stat
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
