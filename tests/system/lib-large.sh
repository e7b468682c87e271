#!/bin/sh
# A block of ten SuperSlabs is made of extents of eight and two, side by side: one of sixteen would leave twelve MiB unused.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
under_hakmem "$programs/prog-large" 20971520 2>"$scratch/err" || fail "$(cat "$scratch/err")"
expect_stats "$scratch/err" leased_bytes -ge 20971520
expect_stats "$scratch/err" leased_bytes -le 25165824
expect_stats "$scratch/err" private_bytes -le 2097152
# Where the next larger extent leaves little, it is that one.
under_hakmem "$programs/prog-large" 14680064 2>"$scratch/err" || fail "$(cat "$scratch/err")"
expect_stats "$scratch/err" leases -eq 1
expect_all_back
