#!/bin/sh
# A debug build of the library, told to purge free pages as soon as a slow path sees them, which races with taking
# blocks from beside them all the time: the model, whose bytes and calloc()s are all looked at, with the invariants walked
# between its steps; forks beneath writers; forks that interrupt purging.
. "$(dirname "$0")/../lib.sh"
seed=${SEED:-$(date +%s)}
echo "SEED=$seed"
use_debug_library
export HAKMEM_TEST_PURGE=1

daemon_start_warm -o reclaim.idle_ms=1
for run in under_private under_hakmem; do
    for words in "prog-malloc-model 4 4 $seed 100" "prog-fork fork 3" "prog-fork clone 2" \
        "prog-fork-storm threads 60" "prog-fork-storm signal 80" "prog-fork-storm signal-threads 60"; do
        # shellcheck disable=SC2086
        $run "$programs"/$words >"$scratch/out" 2>"$scratch/err" || {
            tail -n 5 "$scratch/out" "$scratch/err"
            fail "$run $words, SEED=$seed"
        }
        # Else nothing was tested. (Where all is copied at a fork at once, there may be nothing to purge.)
        case $words in
        *fork*) [ -n "$(stats_sum "$scratch/err" purged_bytes)" ] || fail "$run $words: no figures" ;;
        *) expect_stats "$scratch/err" purged_bytes -gt 1000000 ;;
        esac
        echo "$run $words: purged $(stats_sum "$scratch/err" purged_bytes)"
    done
done
expect_all_back
