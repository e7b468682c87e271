#!/bin/sh
# The model on leased memory, under a daemon that punches out the pages of an idle SuperSlab as soon as it sees one: giving
# back races with taking again all the time, and no byte may be lost by it.
. "$(dirname "$0")/../lib.sh"
need_library
model=$programs/prog-malloc-model
seed=${SEED:-$(date +%s)}
echo "SEED=$seed"
daemon_start_warm -o reclaim.idle_ms=1
for threads in 1 4; do
    under_hakmem "$model" 6 "$threads" "$seed" 200 2>"$scratch/err" || {
        tail -n 5 "$scratch/err"
        fail "$threads threads, SEED=$seed"
    }
    expect_stats "$scratch/err" leased_bytes -gt 0
    # What was reclaimed is used again or returned: address space does not grow with time.
    expect_stats "$scratch/err" leased_bytes -le 1073741824
    grep '"fallbacks"' "$scratch/err"
done
# Else the race did not take place, and the test says nothing.
reclaimed=$(daemon_figure reclaimed_bytes_total)
echo "reclaimed $reclaimed bytes"
[ "$reclaimed" -gt 0 ] || fail "the daemon reclaimed nothing"
expect_all_back
