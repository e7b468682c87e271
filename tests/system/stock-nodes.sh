#!/bin/sh
# NUMA: on a host of two nodes (as the daemon is shown it) a program's leases come from the stock of the node that it runs
# on; on one node the daemon makes no call for it.
. "$(dirname "$0")/../lib.sh"
need_library
need strace taskset
strace -o /dev/null true 2>/dev/null || skip "strace does not work here"
taskset -c 1 true 2>/dev/null || skip "there is but one processor"
# A program on one processor that asks for one lease after the other.
leaser() {
    taskset -c "$1" env LD_PRELOAD="$library" HAKMEM_SOCKET="$socket" HAKMEM_WAIT_US=5000000 HAKMEM_STATS=1 \
        python3 -c 'x = [bytearray(200000) for i in range(60)]' \
        2>"$scratch/err" || fail "status $?: $(cat "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 8000000
}
need python3
node_figure() { # NODE KEY
    "$BUILD/hakmemctl" --socket "$socket" --json pool |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["nodes"][int(sys.argv[1])][sys.argv[2]])' "$1" "$2"
}
node_has() { [ "$(node_figure "$1" fresh_bytes)" -ge "$2" ]; }
# As daemon_start_warm, traced.
start_traced() {
    [ -z "$daemon_pid" ] || daemon_stop
    : >"$scratch/trace"
    daemon_start -o pool.min=64M -o pool.max=1G "$@"
    strace -f -qq -e trace=set_mempolicy,mbind -o "$scratch/trace" -p "$daemon_pid" &
    tracer=$!
    background_pids="$background_pids $tracer"
    poll 10 is_traced || skip "strace cannot attach"
    poll 20 stock_is_warm || fail "nothing is prewarmed"
    "$BUILD/hakmemctl" --socket "$socket" prewarm 128M >/dev/null || fail "cannot prewarm"
    poll 30 stock_is 134217728 || fail "not prewarmed"
}
is_traced() { grep -q 'TracerPid:[[:space:]]*[1-9]' "/proc/$daemon_pid/status"; }
stock_is() { [ "$(daemon_figure stock_bytes)" -ge "$1" ]; }

sys=$scratch/sys/devices/system/node
mkdir -p "$sys/node0" "$sys/node1"
echo 0-1 >"$sys/online"
echo 0-1 >"$sys/has_memory"
echo 0 >"$sys/node0/cpulist"
echo 1-4095 >"$sys/node1/cpulist"
echo 10 20 >"$sys/node0/distance"
echo 20 10 >"$sys/node1/distance"

start_traced -o "host.sys=$scratch/sys"
grep -q 'set_mempolicy(MPOL_PREFERRED, \[0x0*1' "$scratch/trace" || fail "nothing is bound to node 0: $(head "$scratch/trace")"
grep -q 'set_mempolicy(MPOL_PREFERRED, \[0x0*2' "$scratch/trace" || fail "nothing is bound to node 1: $(head "$scratch/trace")"
for node in 0 1; do
    poll 20 node_has $node 60000000 || fail "no stock on node $node: $("$BUILD/hakmemctl" --socket "$socket" pool)"
done
"$BUILD/hakmemctl" --socket "$socket" pool | grep -q 'FROM ELSEWHERE' || fail "hakmemctl pool shows no nodes"
for node in 1 0 1; do
    before=$(node_figure 0 leases_total).$(node_figure 1 leases_total)
    leaser $node
    [ "$(node_figure $node leases_total)" -gt "$(echo "$before" | cut -d. -f$((node + 1)))" ] ||
        fail "nothing was leased to a client on node $node"
    [ "$(node_figure $((1 - node)) leases_total)" -eq "$(echo "$before" | cut -d. -f$((2 - node)))" ] ||
        fail "a client on node $node was taken for one on the other"
    # A size may be out on the node for a moment; then the other's is taken.
    [ $((4 * $(daemon_figure remote_leases_total))) -le "$(daemon_figure leases_total)" ] || fail "leases from another node than $node: $("$BUILD/hakmemctl" --socket "$socket" pool)"
done
expect_all_back

# One node, as the daemon is shown it.
rm -r "$sys/node1"
echo 0 >"$sys/online"
echo 0 >"$sys/has_memory"
echo 0-4095 >"$sys/node0/cpulist"
start_traced -o "host.sys=$scratch/sys"
leaser 1
kill "$tracer"
wait "$tracer" 2>/dev/null
[ ! -s "$scratch/trace" ] || fail "calls on a host with one node: $(head "$scratch/trace")"
