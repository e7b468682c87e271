#!/bin/sh
# The test of the test: in a debug build of the library whose prepare handler can be told to leave the shared mappings as
# they are, prog-fork must report corruption, and must not without being told.
. "$(dirname "$0")/../lib.sh"
need_library
need make
root=$(cd "$tests/.." && pwd)
# Of its own, so that another make in progress is not disturbed.
debug=$BUILD/debug
make -s -C "$root" DEBUG=1 SAN= BUILD="$debug" "$debug/libhakmem.so" >"$scratch/make" 2>&1 ||
    fail "debug build: $(tail -n 20 "$scratch/make")"
library=$debug/libhakmem.so

daemon_start_warm
under_hakmem "$programs/prog-fork" fork 3 >"$scratch/out" 2>"$scratch/err" ||
    fail "with the conversion: $(cat "$scratch/out" "$scratch/err")"
under_hakmem HAKMEM_TEST_NO_FORK_CONVERSION=1 "$programs/prog-fork" fork 6 >"$scratch/out" 2>"$scratch/err"
status=$?
head -n 3 "$scratch/out"
[ "$status" -eq 3 ] || fail "without the conversion: status $status, and not 3: $(cat "$scratch/out")"
grep -q '^corruption: ' "$scratch/out" || fail "no corruption is reported: $(cat "$scratch/out")"
