#!/bin/sh
# Memory stays bounded over 10,000 short threads, with one thread that allocates and one that frees, and when threads
# allocate and free at their very end. On leased and on private memory.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
# The bounds: what is live at a time (2 MB, 1 MB, nothing), and some SuperSlabs; far below what passes through in all
# (2 GB, 2 GB, 20 MB).
for run in "short 10000 24" "queue 3000000 24" "late 5000 12"; do
    # shellcheck disable=SC2086
    under_hakmem "$programs/prog-threads" $run >"$scratch/out" 2>"$scratch/err" ||
        fail "$run, with the daemon: $(cat "$scratch/out" "$scratch/err")"
    cat "$scratch/out"
    expect_stats "$scratch/err" fallbacks -eq 0
    # shellcheck disable=SC2086
    under_private "$programs/prog-threads" $run >"$scratch/out" 2>"$scratch/err" ||
        fail "$run, private memory: $(cat "$scratch/out" "$scratch/err")"
    cat "$scratch/out"
    # Kept: the threads' memory goes to other threads, not to waste. (Eight that get into each other's way have an arena each, of
    # 2 MiB and more, and memory is taken in ever larger steps.)
    expect_stats "$scratch/err" private_bytes -le 33554432
done
expect_all_back
