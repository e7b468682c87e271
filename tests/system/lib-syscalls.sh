#!/bin/sh
# What the library asks of the kernel: nothing at all once a program has reached its size; no socket for a program that
# never allocates much; and no private memory beyond the first region while the daemon serves.
. "$(dirname "$0")/../lib.sh"
need_library
need strace
# The sandbox may forbid tracing.
strace -o /dev/null true 2>/dev/null || skip "strace does not work here"
memory_calls=mmap,munmap,madvise,mremap,mprotect,brk,socket,connect,sendto,sendmsg,recvfrom,recvmsg,fcntl,poll,ppoll

daemon_start_warm
# strace COMMAND..., the command alone under the library.
strace_under_hakmem() {
    strace -f -qq -o "$scratch/trace" -E LD_PRELOAD="$library" -E HAKMEM_SOCKET="$socket" -E HAKMEM_WAIT_US=5000000 \
        -E HAKMEM_STATS=1 "$@"
}

# What comes by the clock, to a run that takes more than a second: pages that were free for so long go, of which there is a table.
purging='mmap\(NULL, [0-9]+, PROT_NONE, MAP_PRIVATE\|MAP_ANONYMOUS\|MAP_NORESERVE|mprotect\(|MADV_REMOVE|MADV_DONTNEED'

# traced ITERATIONS WORKING_SET: the calls of the second half, but for those, are in $scratch/second.
traced() {
    strace_under_hakmem -e "trace=access,$memory_calls" "$programs/prog-random-mixed-marked" "$1" "$2" 42 2>"$scratch/err" || fail "status $?: $(tail -n 3 "$scratch/err")"
    grep -q hakmem-mark-half "$scratch/trace" && grep -q hakmem-mark-end "$scratch/trace" || fail "no marks in the trace"
    # Else the trace does not see what it is made to see.
    for call in mmap connect recvmsg; do
        sed '/hakmem-mark-half/q' "$scratch/trace" | grep -q "$call(" || fail "$1 $2: no $call in the first half"
    done
    sed -n '/hakmem-mark-half/,/hakmem-mark-end/p' "$scratch/trace" | grep -v hakmem-mark |
        grep -vE "$purging" >"$scratch/second"
}
for size in "10000000 8192" "10000000 100000"; do
    # shellcheck disable=SC2086
    traced $size
    # None at all for the workload that this is about. Twelve times as many slots set a new record of blocks in one class or
    # other now and then, however long it runs: room for that is one lease, of a handful of calls.
    case $size in *" 8192") most=0 ;; *) most=12 ;; esac
    [ "$(wc -l <"$scratch/second")" -le "$most" ] ||
        fail "$size: system calls in the second half: $(head -n 20 "$scratch/second")"
    cat "$scratch/err"
    expect_stats "$scratch/err" fallbacks -eq 0
    # The first region: one SuperSlab; of a larger heap up to four, of small pages, most of them untouched.
    expect_stats "$scratch/err" private_bytes -le "$([ "$size" = "10000000 8192" ] && echo 2097152 || echo 8388608)"
done
# 100,000 slots of some 264 bytes on average: 26 MB.
expect_stats "$scratch/err" leased_bytes -ge 20000000
expect_all_back

# What connecting costs, from the socket to where signals are let in again: the socket (5), Hello and the look whose the
# descriptor is (2 and 3, with the wait), the ledger (5), the first extent (5), the witness of forks (5), pages that come in (3).
# A further lease: signals held back and let in, asked for (2), taken (2), looked at (2), mapped (2), moved up (2).
# count NAME MOST: lines of $scratch/part.
count() {
    n_calls=$(wc -l <"$scratch/part")
    [ "$n_calls" -gt 3 ] || fail "$1: not in the trace"
    [ "$n_calls" -le "$2" ] || fail "$1: $n_calls system calls, not $2: $(cat "$scratch/part")"
}
# shortest CALL: of the parts with signals held back in which it is made, after the first. (Another may have waited for its answer.)
shortest() {
    sed '1,/socket(AF_UNIX/d' "$scratch/trace" | sed '1,/SIG_SETMASK/d' | sed -n '/SIG_BLOCK/,/SIG_SETMASK/p' |
        awk -v call="$1(" '/SIG_BLOCK/ { part = ""; n = 0 } { part = part $0 "\n"; n++ }
            /SIG_SETMASK/ && index(part, call) && (!least || n < least) { least = n; found = part }
            END { printf "%s", found }' >"$scratch/part"
}
strace_under_hakmem "$programs/prog-random-mixed-marked" 100000 100000 42 >/dev/null 2>&1 || fail "status $?"
sed -n '/socket(AF_UNIX/,/SIG_SETMASK/p' "$scratch/trace" >"$scratch/part"
count connecting 28
shortest sendmsg
count "asking ahead" 4
shortest mmap
count "a lease" 14
expect_all_back

for program in true ls; do
    strace_under_hakmem -e trace=socket,connect,mmap "$program" >/dev/null 2>&1 ||
        fail "$program: status $?"
    grep -q mmap "$scratch/trace" || fail "$program: nothing traced"
    ! grep -E 'socket|connect' "$scratch/trace" || fail "$program: makes socket calls"
done
[ "$(daemon_figure clients)" -eq 0 ] || fail "somebody is still connected"
