#!/bin/sh
# A program that closes all descriptors and uses their numbers itself: the library never writes into them, never closes
# them, and serves on.
. "$(dirname "$0")/../lib.sh"
need_library
need perl
daemon_start_warm
for limit in 64 1024; do
    mkdir -p "$scratch/data"
    under_hakmem "$programs/prog-descriptors" "$scratch/data" "$limit" >"$scratch/out" 2>"$scratch/err" ||
        fail "limit $limit: $(cat "$scratch/out" "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 0
    rm -r "$scratch/data"
done
# One that may have few needs them all: it gets as many as without the library, and private memory.
open_all() { # LIMIT COMMAND...
    limit=$1
    shift
    # shellcheck disable=SC2016
    "$@" sh -c 'ulimit -n '"$limit"'; exec perl -e '"'"'my @heap = map { "x" x ($_ % 900) } 1 .. 60000; my @files;
        while (open(my $file, "<", "/dev/null")) { push @files, $file } print scalar(@files), "\n";'"'"
}
for limit in 8 63; do
    alone=$(open_all "$limit" env 2>"$scratch/err") || fail "limit $limit: $(cat "$scratch/err")"
    under=$(open_all "$limit" under_hakmem 2>"$scratch/err") || fail "limit $limit: $(cat "$scratch/err")"
    [ "$alone" -gt 3 ] && [ "$under" -eq "$alone" ] ||
        fail "limit $limit: a program opens $alone files, and $under under hakmem"
    expect_stats "$scratch/err" private_bytes -gt 10000000
done
expect_all_back
