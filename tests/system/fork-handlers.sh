#!/bin/sh
# Fork handlers of others that allocate while ours hold all locks: those that were registered before ours are called
# between them. With threads they hung; without, what they leased was shared with the child.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
for threads in 0 2; do
    under_private timeout 60 "$programs/prog-fork-handlers" 3 "$threads" 2>"$scratch/err" ||
        fail "$threads threads, private memory: status $?: $(cat "$scratch/err")"
    under_hakmem timeout 60 "$programs/prog-fork-handlers" 3 "$threads" 2>"$scratch/err" ||
        fail "$threads threads, with the daemon: status $?: $(cat "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 0
done
expect_all_back
