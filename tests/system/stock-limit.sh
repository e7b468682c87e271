#!/bin/sh
# Under a tight limit of memory the daemon refuses rather than dies: in a real group of version 1 where one can be made, and
# in one of version 2 that is made of files. A program's own group binds what it is leased.
. "$(dirname "$0")/../lib.sh"
need_library
need python3
denied() { daemon_figure denied_total; }
# program MIB [COMMAND...]: one that takes so many MiB, in the daemon's sight; its figures in $scratch/err.
program() {
    mib=$1
    shift
    under_hakmem "$@" python3 -c 'import sys
x = [bytearray(b"x") * 50000 for i in range(int(sys.argv[1]) * 20)]
assert all(y[49999] == 120 for y in x)' "$mib" 2>"$scratch/err" || fail "$mib MiB: status $?: $(tail -n 3 "$scratch/err")"
}

# ---- version 2, of files ----
box=$scratch/sys/fs/cgroup/hakmem.slice
mkdir -p "$box" "$scratch/proc"
cp /proc/meminfo "$scratch/proc/meminfo"
echo memory >"$scratch/sys/fs/cgroup/cgroup.controllers"
echo 104857600 >"$box/memory.max"
echo 99000000 >"$box/memory.current"
printf 'inactive_file 0\n' >"$box/memory.stat"
printf 'low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n' >"$box/memory.events"
cat >"$scratch/start" <<EOF
mkdir -p $scratch/proc/\$\$
echo 0::/hakmem.slice >$scratch/proc/\$\$/cgroup
exec $BUILD/hakmemd "\$@"
EOF
: >"$scratch/hakmemd.conf"
env -u MEMORY_PRESSURE_WATCH sh "$scratch/start" --config "$scratch/hakmemd.conf" --socket "$socket" \
    -o "host.proc=$scratch/proc" -o "host.sys=$scratch/sys" -o pool.min=64M -o pool.max=64M \
    -o pressure.quiet_ms=60000 >"$scratch/daemon.log" 2>&1 &
daemon_pid=$!
poll 10 daemon_answers || fail "hakmemd does not answer"
"$BUILD/hakmemctl" --socket "$socket" pool | grep -q 'host meminfo, cgroup events' ||
    fail "pressure source: $("$BUILD/hakmemctl" --socket "$socket" pool)"
# Nothing fits: nothing is prewarmed, programs are served cold.
program 30
expect_stats "$scratch/err" leased_bytes -gt 10000000
[ "$(daemon_figure cold_leases_total)" -gt 0 ] && [ "$(daemon_figure created_bytes_total)" -ge 10000000 ] ||
    fail "the program was not served cold"
[ "$(daemon_figure stock_huge_bytes)" -eq 0 ] || fail "prewarmed beyond the limit"
# The limit is met, again and again: step by step, to the last.
level_is() { [ "$(daemon_figure pressure_level)" -eq "$1" ]; }
n=0
meet_limit() {
    n=$((n + 1))
    printf 'low 0\nhigh 0\nmax %d\noom 0\noom_kill 0\n' $n >"$box/memory.events"
    level_is 2 && [ "$(daemon_figure pressure_events_total)" -ge 4 ]
}
poll 60 meet_limit || fail "no pressure: $("$BUILD/hakmemctl" --socket "$socket" stats)"
before=$(denied)
program 30
expect_stats "$scratch/err" fallbacks -gt 0
[ "$(denied)" -gt "$before" ] || fail "leases are not refused"
kill -0 "$daemon_pid" || fail "the daemon died"
daemon_stop
echo "version 2: refused $(($(tail -n 1 "$scratch/err" | json_get fallbacks))) times, and lived"

# ---- version 1, the kernel's ----
at=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
group=$at/hakmem-test.$$
[ -f "$at/memory.limit_in_bytes" ] && mkdir "$group" 2>/dev/null ||
    skip "no group of version 1's memory controller can be made here; version 2's, of files, passed"
trap 'status=$?; for pid in $background_pids $daemon_pid; do kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null; done; rmdir "$group"; (exit $status); cleanup' EXIT
limit=$((128 << 20))
echo $limit >"$group/memory.limit_in_bytes"
# in_group COMMAND...
cat >"$scratch/in_group" <<EOF
#!/bin/sh
echo \$\$ >$group/cgroup.procs
exec "\$@"
EOF
chmod 755 "$scratch/in_group"
"$scratch/in_group" "$BUILD/hakmemd" --config "$scratch/hakmemd.conf" --socket "$socket" -o pool.min=96M -o pool.max=1G \
    >>"$scratch/daemon.log" 2>&1 &
daemon_pid=$!
poll 10 daemon_answers || fail "hakmemd does not answer"
poll 20 stock_is_warm || fail "nothing is prewarmed"
"$BUILD/hakmemctl" --socket "$socket" prewarm 1G >/dev/null || fail "cannot order a gigabyte"
for i in 1 2 3 4; do program 150; done
for i in 1 2 3; do
    program 150 &
    background_pids="$background_pids $!"
done
for pid in $background_pids; do wait "$pid" || fail "a program under the daemon failed"; done
background_pids=
kill -0 "$daemon_pid" || fail "the daemon died"
grep -q '^oom_kill 0' "$group/memory.oom_control" || fail "somebody was killed: $(cat "$group/memory.oom_control")"
most=$(cat "$group/memory.max_usage_in_bytes")
[ "$most" -ge $((limit / 2)) ] || fail "only $most bytes were used at most: nothing is tested"
expect_all_back
daemon_stop
echo "version 1: at most $most of $limit bytes"

# A program in a group of its own, the daemon outside.
echo 0 >"$group/memory.max_usage_in_bytes"
echo $((96 << 20)) >"$group/memory.limit_in_bytes"
daemon_start_warm -o pool.min=256M -o pool.max=512M
program 80
# Of the program itself: python3 may be a script that starts others first.
most_leased() { grep '"fallbacks"' "$scratch/err" | json_get leased_bytes | sort -n | tail -n 1; }
free_lease=$(most_leased)
[ "$(daemon_figure denied_quota_total)" -eq 0 ] || fail "refused where there is no limit"
program 80 "$scratch/in_group"
bound_lease=$(most_leased)
[ "$(daemon_figure denied_quota_total)" -gt 0 ] || fail "never refused: $free_lease without a limit, $bound_lease with one"
[ "$bound_lease" -le $((84 << 20)) ] || fail "leased $bound_lease, more than seven eighths of the limit"
[ "$bound_lease" -gt 0 ] || fail "nothing leased"
echo "in a group of 96 MiB: $bound_lease bytes leased, without a limit $free_lease"
expect_all_back
