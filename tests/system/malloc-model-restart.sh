#!/bin/sh
# The model on leased memory while the daemon is killed, or stopped, and started again, over and over: no byte is lost.
# (lib-restart.sh sees to it that each new daemon is used.)
. "$(dirname "$0")/../lib.sh"
need_library
model=$programs/prog-malloc-model
seed=${SEED:-$(date +%s)}
echo "SEED=$seed"

program_leases() {
    kill -0 "$program" 2>/dev/null || fail "the program ended early: $(tail -n 5 "$scratch/err")"
    [ "$(daemon_figure leases_total)" -gt 0 ]
}

daemon_start_warm -o reclaim.idle_ms=1
under_hakmem "$model" 12 4 "$seed" 200 2>"$scratch/err" &
program=$!
background_pids=$program
poll 10 program_leases || fail "the daemon is not used"
for end in kill stop kill stop kill; do
    sleep 0.7
    "daemon_$end"
    # Some time without one.
    sleep 0.3
    daemon_start -o reclaim.idle_ms=1
done
wait "$program" || {
    tail -n 5 "$scratch/err"
    fail "SEED=$seed"
}
background_pids=
grep '"fallbacks"' "$scratch/err"
expect_all_back
