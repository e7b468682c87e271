#!/bin/sh
# A program with more extents than it may keep descriptors for forks again and again: the originals of some are looked for,
# those of others are not. The second fork crashed.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
# 32 descriptors of 256 may be kept; 100 MiB are 33 extents and more.
(ulimit -n 256 && under_hakmem "$programs/prog-few-descriptors" 160 4 2>"$scratch/err") ||
    fail "status $?: $(cat "$scratch/err")"
expect_stats "$scratch/err" leases -gt 32
expect_stats "$scratch/err" originals_bytes -gt 0
expect_all_back
