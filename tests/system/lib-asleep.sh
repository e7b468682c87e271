#!/bin/sh
# A program that frees 100 MB of private memory and then sleeps gives it back by its last frees, whatever its blocks are, and in
# few calls; and one that takes as much again at once, over and over, pays the page faults of that but for its first turns.
. "$(dirname "$0")/../lib.sh"
need_library
bytes=100000000

# slept RUN BLOCK_BYTES MOST_BYTES: the program with blocks of that size holds at most so much at last.
slept() {
    "$1" "$programs/prog-asleep" $bytes "$2" >"$scratch/out" 2>"$scratch/err" || fail "$2: status $?: $(cat "$scratch/err")"
    grown=$(awk '/^grown/ { print $2 }' "$scratch/out") freed=$(awk '/^grown/ { print $4 }' "$scratch/out")
    echo "$1, blocks of $2: $grown bytes resident, then $freed; $(stats_sum "$scratch/err" syscalls) system calls"
    [ "$grown" -ge $((bytes * 4 / 5)) ] || fail "it did not grow: nothing is tested"
    [ "$freed" -le "$3" ] || fail "blocks of $2: $freed of $grown bytes are still resident"
    expect_stats "$scratch/err" syscalls -lt 300
}
slept under_private 1024 20000000
slept under_private 65536 20000000
# Four such may stay.
slept under_private 8388608 50000000

for size in 1024 65536 8388608; do
    under_private "$programs/prog-asleep" $bytes $size 12 >"$scratch/out" 2>"$scratch/err" || fail "$size: status $?"
    sed -n '/^faults/p' "$scratch/out"
    # Of ten turns at most two were interrupted for more than a second, after which free memory goes by the clock.
    awk '/^faults/ { for (i = 4; i <= NF; i++) n += $i; exit !(NF == 13 && $3 > 10000 && n <= 3 * $3) }' "$scratch/out" ||
        fail "blocks of $size: the faults go on"
done

# The daemon gives a part and refuses the rest: that is private, and goes as well.
daemon_start_warm -o quota.bytes_per_client=8M -o reclaim.idle_ms=600000
for size in 1024 65536; do
    slept under_hakmem $size 30000000
    expect_stats "$scratch/err" leased_bytes -gt 0
    expect_stats "$scratch/err" private_bytes -gt $((bytes / 2))
done
expect_all_back
