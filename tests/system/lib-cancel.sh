#!/bin/sh
# The malloc family is no cancellation point, whatever it has to do: lease, return, give back after a fork.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm -o reclaim.idle_ms=20
under_private timeout 60 "$programs/prog-cancel" 2>"$scratch/err" ||
    fail "private memory: status $?: $(cat "$scratch/err")"
under_hakmem timeout 60 "$programs/prog-cancel" 2>"$scratch/err" ||
    fail "with the daemon: status $?: $(cat "$scratch/err")"
expect_stats "$scratch/err" leased_bytes -gt 0
expect_all_back
