#!/bin/sh
# What was prewarmed is ready: half as much is then allocated without asking anybody. Also where no reply comes within the
# bound of an allocation's wait: prewarming waits for it, so that it does not come in between the allocations.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
for wait_us in 500000 1; do
    under_hakmem env HAKMEM_WAIT_US=$wait_us "$programs/prog-prewarm" 33554432 >"$scratch/out" 2>"$scratch/err" ||
        fail "HAKMEM_WAIT_US=$wait_us: $(cat "$scratch/out" "$scratch/err")"
    grep -q '^leased 1$' "$scratch/out" || fail "HAKMEM_WAIT_US=$wait_us: not leased: $(cat "$scratch/out" "$scratch/err")"
    # At most once a second the library looks whether the daemon is still there.
    n_calls=$(sed -n 's/^syscalls //p' "$scratch/out")
    [ "$n_calls" -le "$(($(sed -n 's/^seconds //p' "$scratch/out") * 2))" ] || fail "HAKMEM_WAIT_US=$wait_us: $n_calls system calls after prewarming"
    expect_stats "$scratch/err" private_bytes -le 2097152
done
under_private "$programs/prog-prewarm" 33554432 >"$scratch/out" 2>"$scratch/err" || fail "alone: $(cat "$scratch/err")"
n_calls=$(sed -n 's/^syscalls //p' "$scratch/out")
[ "$n_calls" -le "$(($(sed -n 's/^seconds //p' "$scratch/out") * 2))" ] || fail "alone: $n_calls system calls after prewarming"

# Memory that waits for its use is not idle: the daemon, which here takes what is so at once, leaves it alone.
daemon_stop
daemon_start_warm -o reclaim.idle_ms=1
under_hakmem env HAKMEM_WAIT_US=500000 "$programs/prog-prewarm" 33554432 1500 >"$scratch/out" 2>"$scratch/err" ||
    fail "after a while: $(cat "$scratch/out" "$scratch/err")"
n_calls=$(sed -n 's/^syscalls //p' "$scratch/out")
[ "$n_calls" -le "$(($(sed -n 's/^seconds //p' "$scratch/out") * 2 + 4))" ] || fail "after a while: $n_calls system calls after prewarming"
[ "$(daemon_figure reclaimed_bytes_total)" -eq 0 ] || fail "prewarmed memory was reclaimed"
expect_all_back
