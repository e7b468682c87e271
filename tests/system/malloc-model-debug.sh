#!/bin/sh
# The model on a debug build of the library, whose heap invariants it walks between its steps: on private memory, and on
# leased memory that the daemon takes back as soon as it is idle.
. "$(dirname "$0")/../lib.sh"
model=$programs/prog-malloc-model
seed=${SEED:-$(date +%s)}
echo "SEED=$seed"
use_debug_library

daemon_start_warm -o reclaim.idle_ms=1
for run in under_private under_hakmem; do
    $run "$model" 3 4 "$seed" 100 >"$scratch/out" 2>"$scratch/err" || {
        tail -n 5 "$scratch/err"
        fail "$run, SEED=$seed"
    }
    cat "$scratch/out"
    grep -q 'invariants walked [1-9]' "$scratch/out" || fail "the invariants were not walked"
done
expect_all_back
