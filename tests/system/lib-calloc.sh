#!/bin/sh
# calloc of huge blocks is zero, whatever its memory was before: cleared, never touched, freed as a sparse block, reclaimed by
# the daemon between free and calloc, copied at a fork (where MADV_DONTNEED would bring the file's old contents back), in a child.
. "$(dirname "$0")/../lib.sh"
need_library
program=$programs/prog-calloc
seed=${SEED:-$(date +%s)}
echo "SEED=$seed"

under_private "$program" 400 "$seed" 2>"$scratch/err" || {
    tail -n 5 "$scratch/err"
    fail "alone, SEED=$seed"
}
# Else it was about cleared memory alone.
expect_stats "$scratch/err" sparse_blocks -gt 0

daemon_start_warm -o reclaim.idle_ms=1
under_hakmem "$program" 400 "$seed" 2>"$scratch/err" || {
    tail -n 5 "$scratch/err"
    fail "with the daemon, SEED=$seed"
}
expect_stats "$scratch/err" sparse_blocks -gt 0
expect_stats "$scratch/err" leased_bytes -gt 0
expect_stats "$scratch/err" forks -gt 0
reclaimed=$(daemon_figure reclaimed_bytes_total)
echo "reclaimed $reclaimed bytes, $(stats_sum "$scratch/err" sparse_blocks) sparse blocks"
[ "$reclaimed" -gt 0 ] || fail "the daemon reclaimed nothing"
expect_all_back
