#!/bin/sh
# The test of the test: in a debug build of the library whose prepare handler can be told to leave the shared mappings as
# they are, prog-fork must report corruption, and must not without being told.
. "$(dirname "$0")/../lib.sh"
use_debug_library

daemon_start_warm
under_hakmem "$programs/prog-fork" fork 3 >"$scratch/out" 2>"$scratch/err" ||
    fail "with the conversion: $(cat "$scratch/out" "$scratch/err")"
under_hakmem HAKMEM_TEST_NO_FORK_CONVERSION=1 "$programs/prog-fork" fork 6 >"$scratch/out" 2>"$scratch/err"
status=$?
head -n 3 "$scratch/out"
[ "$status" -eq 3 ] || fail "without the conversion: status $status, and not 3: $(cat "$scratch/out")"
grep -q '^corruption: ' "$scratch/out" || fail "no corruption is reported: $(cat "$scratch/out")"
