#!/bin/sh
# C++'s operator new and delete through the library keep their promises (lib-new.cc).
. "$(dirname "$0")/../lib.sh"
need_library
need g++
g++ -std=c++17 -O0 -w -o "$scratch/new" "$tests/system/lib-new.cc" || fail "lib-new.cc does not compile"
daemon_start_warm
for run in env under_private under_hakmem; do
    $run "$scratch/new" >"$scratch/out" 2>"$scratch/err" || fail "$run: $(cat "$scratch/out" "$scratch/err")"
done
grep -q '"fallbacks"' "$scratch/err" || fail "the library did not serve the program"
expect_all_back
