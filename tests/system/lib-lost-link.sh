#!/bin/sh
# A connection that the library has given up while the daemon still holds it for alive: the daemon goes on to take the pages of
# what it last saw idle. None of that may be memory that the program uses again.
. "$(dirname "$0")/../lib.sh"
need_library
for idle_ms in 1 300; do
    daemon_start_warm -o reclaim.idle_ms=$idle_ms
    under_hakmem "$programs/prog-lost-link" 2 >"$scratch/out" 2>"$scratch/err" ||
        fail "reclaim.idle_ms=$idle_ms: $(cat "$scratch/out" "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 0
    expect_all_back
    daemon_stop
done
