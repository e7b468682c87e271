#!/bin/sh
# A program that closes all descriptors and uses their numbers itself: the library never writes into them, never closes
# them, and serves on.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
for limit in 64 1024; do
    mkdir -p "$scratch/data"
    under_hakmem "$programs/prog-descriptors" "$scratch/data" "$limit" >"$scratch/out" 2>"$scratch/err" ||
        fail "limit $limit: $(cat "$scratch/out" "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 0
    rm -r "$scratch/data"
done
expect_all_back
