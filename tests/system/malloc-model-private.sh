#!/bin/sh
# The model of the malloc family on private memory alone: no daemon is needed for the allocator to be right.
. "$(dirname "$0")/../lib.sh"
need_library
model=$programs/prog-malloc-model
seed=${SEED:-$(date +%s)}
echo "SEED=$seed"
for threads in 1 2 8; do
    under_private "$model" 4 "$threads" "$seed" 200 2>"$scratch/err" || {
        tail -n 5 "$scratch/err"
        fail "$threads threads, SEED=$seed"
    }
    expect_stats "$scratch/err" leased_bytes -eq 0
    expect_stats "$scratch/err" private_bytes -gt 2097152
done
