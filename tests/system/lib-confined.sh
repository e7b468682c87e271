#!/bin/sh
# Never worse than without: no daemon, a chroot without its socket, seccomp, no descriptors, a daemon that is stopped. The
# program goes on with private memory; the library counts that, and waits no longer than it is told to.
. "$(dirname "$0")/../lib.sh"
need_library
confined=$programs/prog-confined

# run HOW: with the ordinary bound on a wait.
run() {
    env LD_PRELOAD="$library" HAKMEM_SOCKET="$socket" HAKMEM_STATS=1 CONFINED_ROOT="$scratch/root" \
        "$confined" "$1" 64 >"$scratch/out" 2>"$scratch/err"
    status=$?
    [ "$status" -ne 77 ] || { echo "$1 does not work here"; return 1; }
    [ "$status" -eq 0 ] || fail "$1: status $status: $(cat "$scratch/out" "$scratch/err")"
    echo "$1: $(cat "$scratch/out")"
}
mkdir "$scratch/root"

run free
expect_stats "$scratch/err" leased_bytes -eq 0
expect_stats "$scratch/err" fallbacks -gt 0

daemon_start_warm
for how in chroot seccomp nofile strict; do
    run "$how" || continue
    expect_stats "$scratch/err" leased_bytes -eq 0
    expect_stats "$scratch/err" fallbacks -gt 0
done
# Leases that it has when it is confined stay its own, and go back with it.
if run strict-late; then
    expect_stats "$scratch/err" leased_bytes -gt 0
    expect_all_back
fi
# The same program, not confined, is served: it is the confinement that made the difference.
run free
expect_stats "$scratch/err" leased_bytes -gt 0

# A daemon that does not answer costs its bound, now and then, and no more: 64 MiB three times over take far less than
# what a wait at each of the hundred SuperSlabs would.
kill -STOP "$daemon_pid"
started=$(date +%s)
run free
took=$(($(date +%s) - started))
kill -CONT "$daemon_pid"
expect_stats "$scratch/err" leased_bytes -eq 0
expect_stats "$scratch/err" fallbacks -gt 0
[ "$took" -le 20 ] || fail "a stopped daemon cost the program $took s"
poll 10 daemon_answers || fail "the daemon does not go on"
under_hakmem "$confined" free 64 >/dev/null 2>"$scratch/err" || fail "after it goes on"
expect_stats "$scratch/err" leased_bytes -gt 0
expect_all_back
