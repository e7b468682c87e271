#!/bin/sh
# The probes of libhakmem(7) are in the library, and each of them is passed: gdb counts, in a program on leased memory under
# a daemon that takes idle pages back at once and refuses what is beyond a quota.
. "$(dirname "$0")/../lib.sh"
need_library
need gdb
need readelf
probes="lease refill flush idle reclaim__seen fallback"
readelf -n "$library" | grep -A1 'Provider: hakmem' | sed -n 's/.*Name: //p' | sort >"$scratch/there"
[ -s "$scratch/there" ] || skip "built without <sys/sdt.h>"
for probe in $probes; do
    grep -qx "$probe" "$scratch/there" || fail "no probe $probe"
done

daemon_start_warm -o reclaim.idle_ms=1 -o quota.bytes_per_client=12M
{
    echo "set startup-with-shell off
set environment LD_PRELOAD $library
set environment HAKMEM_SOCKET $socket
set environment HAKMEM_WAIT_US 500000
set debuginfod enabled off
break main
run"
    for probe in $probes; do
        echo "break -probe-stap hakmem:$probe
ignore \$bpnum 1000000"
    done
    echo "continue
info breakpoints"
} >"$scratch/commands"
# The program reads what gdb's standard input says: one step a line. Nobody else holds the other end open.
mkfifo "$scratch/in"
exec 9<>"$scratch/in"
gdb -nx -batch -x "$scratch/commands" --args "$programs/prog-steps" <"$scratch/in" >"$scratch/out" 2>&1 9>&- &
debugger=$!
background_pids="$background_pids $debugger"
printf 'grow 10\ndrop\n' >&9
taken_back() { [ "$(daemon_figure reclaimed_bytes_total)" -gt 0 ]; }
poll 60 taken_back || fail "nothing is taken back: $(tail -n 20 "$scratch/out")"
echo 'grow 30' >&9
exec 9>&-
wait "$debugger" || true
grep -q 'exited normally' "$scratch/out" || {
    grep -q 'ptrace: Operation not permitted' "$scratch/out" && skip "may not trace"
    tail -n 20 "$scratch/out"
    fail "the program does not end well under gdb"
}
number=1
for probe in $probes; do
    number=$((number + 1))
    hits=$(awk -v n="$number" '$1 == n { here = 1; next } /^[0-9]/ { here = 0 } here && /already hit/ { print $4; exit }' \
        "$scratch/out")
    echo "$probe: ${hits:-0} times"
    [ "${hits:-0}" -gt 0 ] || fail "$probe is never passed: $(tail -n 40 "$scratch/out")"
done

# Its arguments are what they are said to be: the bytes of a block of the class, and how many came. (The first few blocks of a
# class take no refill, unless watching is off.)
cat >"$scratch/commands" <<GDB
set startup-with-shell off
set environment LD_PRELOAD $library
set environment HAKMEM_CONNECT off
set environment HAKMEM_CHECK off
set debuginfod enabled off
break main
run
break -probe-stap hakmem:refill
continue
printf "refill of %d: %d\n", \$_probe_arg0, \$_probe_arg1
kill
GDB
gdb -nx -batch -x "$scratch/commands" --args "$BUILD/tests/misuse/double-free" >"$scratch/out" 2>&1
grep -q '^refill of 112: [1-9]' "$scratch/out" || fail "the arguments of refill: $(tail -n 5 "$scratch/out")"
