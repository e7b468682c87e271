#!/bin/sh
# fork() while other threads are in malloc, by several threads at once, from a signal handler that interrupts malloc or
# realloc, from two of them at once, and from one that interrupts another fork, wherever that is or right before its signals
# wait.
. "$(dirname "$0")/../lib.sh"
need_library
storm=$programs/prog-fork-storm

daemon_start_warm -o reclaim.idle_ms=20
for mode in "threads 120" "signal 150" "signal-threads 120" "signal-both 40" "signal-fork 20" "signal-block 20"; do
    # shellcheck disable=SC2086
    under_hakmem "$storm" $mode >"$scratch/out" 2>"$scratch/err" ||
        fail "$mode, leased memory: $(cat "$scratch/out" "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 0
    # shellcheck disable=SC2086
    under_private "$storm" $mode >"$scratch/out" 2>"$scratch/err" ||
        fail "$mode, private memory: $(cat "$scratch/out" "$scratch/err")"
done
expect_all_back
