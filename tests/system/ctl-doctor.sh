#!/bin/sh
# hakmemctl doctor finds nothing wrong where nothing is, and finds what is put wrong on purpose.
set -eu
. tests/system/ctl-common.inc
# doctor ARGUMENT...: the verdict on each subject, a line each, in $folder/verdicts.
verdict_of() { sed -n "s/^\([a-z]*\) *$1 .*/\1/p" "$folder/out" | head -n 1; }
is() { [ "$(verdict_of "$1")" = "$2" ] || die "$1 is \"$(verdict_of "$1")\", not \"$2\": $(cat "$folder/out")"; }

# Nobody there.
expect 1 ctl doctor
is socket problem
said 'cure: systemctl enable'
expect 1 ctl --json doctor
python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report["problems"] >= 1 and any(c["subject"] == "socket" and c["cure"] for c in report["checks"])
' <"$folder/out" || die "doctor --json: $(cat "$folder/out")"

# All is well, but for what this kernel's settings are.
start_daemon
stocked() { ctl --json pool >"$folder/out" && [ "$(number stock_bytes <"$folder/out")" -ge 8388608 ]; }
until_true 10 stocked || die "the stock was not filled"
expect 0 ctl doctor
for subject in socket daemon stock denials clients lease memfd re-use library; do is "$subject" ok; done
said '^0 problems'
said 'leased, mapped and zero'
# What doctor leased has come back.
all_back() {
    ctl --json stats >"$folder/out" && [ "$(number leased_bytes <"$folder/out")" -eq 0 ] &&
        [ "$(number orphan_bytes <"$folder/out")" -eq 0 ]
}
until_true 10 all_back || die "doctor's lease did not come back: $(cat "$folder/out")"

# A library that is not there.
HAKMEM_LIBRARY=$folder/none.so expect 1 ctl doctor
is library problem
# A shell with little address space.
expect 0 sh -c 'ulimit -v 4000000; exec "$0" --socket "$1" doctor' "$BUILD/hakmemctl" "$socket"
is 'address space' warning
# A daemon that drains leases nothing.
expect 0 ctl drain
expect 1 ctl doctor
is lease problem
said 'drain --resume'
expect 0 ctl drain --resume
stop_daemon

# Few descriptors.
limit=$(ulimit -n)
ulimit -n 512
start_daemon
expect 0 ctl doctor
is descriptors warning
said 'LimitNOFILE'
stop_daemon
ulimit -n "$limit" 2>/dev/null || true

# Small pages because they were asked for are no fault; quotas that refuse are.
start_daemon -o pool.backing=4k -o quota.bytes_per_user=0
expect 1 ctl doctor
is backing ok
is lease problem
expect 1 ctl doctor
is denials warning
stop_daemon

# A control group that is too small for the stock, where this machine lets us make one.
for group in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    [ -w "$group/cgroup.procs" ] && mkdir "$group/hakmem-test-$$" 2>/dev/null || continue
    group=$group/hakmem-test-$$
    for limit in "$group/memory.limit_in_bytes" "$group/memory.max"; do
        [ -w "$limit" ] || continue
        echo 256M >"$limit"
        start_daemon -o pool.max=1G
        # Moved after its start: it would rather lower pool.max for a limit that it sees.
        echo "$daemon" >"$group/cgroup.procs"
        expect 0 ctl doctor
        is cgroup warning
        said 'may use 256 MiB'
        stop_daemon
    done
    rmdir "$group"
done

# Where the daemon looks, doctor looks: a host made up of files, with a limit and without PSI.
host=$folder/host
mkdir -p "$host/proc" "$host/sys/fs/cgroup/box"
echo memory >"$host/sys/fs/cgroup/cgroup.controllers"
cp /proc/meminfo "$host/proc/"
start_daemon -o host.proc="$host/proc" -o host.sys="$host/sys" -o pool.max=512M
# It has looked for its own group already, and found none: it would rather lower pool.max.
mkdir "$host/proc/$daemon"
echo 0::/box >"$host/proc/$daemon/cgroup"
echo 100663296 >"$host/sys/fs/cgroup/box/memory.max"
expect 0 ctl doctor
is cgroup warning
said 'may use 96.0 MiB'
is pressure warning
said 'psi=1'
mkdir "$host/proc/pressure"
: >"$host/proc/pressure/memory"
expect 0 ctl doctor
said 'CAP_SYS_RESOURCE'
stop_daemon
echo "doctor holds"
