#!/bin/sh
# fork(), _Fork() and libc's clone() beneath writer threads, on leased and on private memory: snapshots stand, nobody sees the other's
# writes, nothing deadlocks, and the daemon gets everything back.
. "$(dirname "$0")/../lib.sh"
need_library

daemon_start_warm -o reclaim.idle_ms=20
for how in fork _Fork clone; do
    under_hakmem "$programs/prog-fork" "$how" 5 >"$scratch/out" 2>"$scratch/err" ||
        fail "leased memory: $(cat "$scratch/out" "$scratch/err")"
    tail -n 1 "$scratch/out"
    # The program's own line comes last, after its children's.
    [ "$(grep '"fallbacks"' "$scratch/err" | tail -n 1 | json_get leased_bytes)" -gt 0 ] ||
        fail "no leased memory: $(cat "$scratch/err")"
    expect_all_back
done
under_private "$programs/prog-fork" fork 3 >"$scratch/out" 2>"$scratch/err" ||
    fail "private memory: $(cat "$scratch/out" "$scratch/err")"
tail -n 1 "$scratch/out"
