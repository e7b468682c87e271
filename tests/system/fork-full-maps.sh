#!/bin/sh
# A program that has as many mappings as it may has them at a fork, too: what is leased becomes a private copy all the same.
. "$(dirname "$0")/../lib.sh"
need_library
program=$programs/prog-full-maps
daemon_start_warm
"$program" 1 2>"$scratch/err"
[ $? -ne 77 ] || skip "$(cat "$scratch/err")"
under_hakmem "$program" 60 2>"$scratch/err" || fail "status $?: $(cat "$scratch/err")"
expect_stats "$scratch/err" leased_bytes -gt 50000000
expect_stats "$scratch/err" fallbacks -eq 0
expect_all_back
