#!/bin/sh
# The malloc family at its edges, on the library: private memory, the daemon's, and under a limit on address space that is
# there from the start or comes later.
. "$(dirname "$0")/../lib.sh"
need_library
edges=$programs/prog-malloc-edges

served_by_library() { # the last run's output
    grep -q '"fallbacks"' "$scratch/err" || fail "the library did not serve the program"
}

under_private "$edges" 2>"$scratch/err" || fail "private memory: $(cat "$scratch/err")"
served_by_library
daemon_start
under_hakmem "$edges" 2>"$scratch/err" || fail "leased memory: $(cat "$scratch/err")"
served_by_library
expect_stats "$scratch/err" leased_bytes -gt 0
expect_all_back

# Of a limit of 512 MiB, 200 at least are to be had in blocks of whatever size, even 200,000 bytes, which take four units of
# 64 KiB each; the C library gives nearly all.
enough=$((200 << 20))
under_private "$edges" limit "$enough" 2>"$scratch/err" || fail "limit set in mid-run: $(cat "$scratch/err")"
served_by_library
(ulimit -v 524288 && under_private "$edges" limit "$enough") 2>"$scratch/err" ||
    fail "limit set before: $(cat "$scratch/err")"
served_by_library
(ulimit -v 524288 && under_private "$edges" crowded $((300 << 20))) 2>"$scratch/err" ||
    fail "most of the limit taken before: $(cat "$scratch/err")"
served_by_library
(ulimit -v 524288 && under_hakmem "$edges" limit "$enough") 2>"$scratch/err" ||
    fail "limit set before, with the daemon: $(cat "$scratch/err")"
served_by_library
expect_all_back
