#!/bin/sh
# Programs that grew and freed it all, and then do nothing: the host gets their memory back from the daemon, and no
# program makes a system call for it.
. "$(dirname "$0")/../lib.sh"
need_library
need strace
strace -o /dev/null true 2>/dev/null || skip "strace does not work here"
n_programs=4
each=100000000

daemon_start_warm -o reclaim.idle_ms=500
mkfifo "$scratch/words"
# Held open for writing: the programs wait in read(2) until it is closed.
exec 9<>"$scratch/words"
pids=
for i in $(seq $n_programs); do
    strace -f -qq -o "$scratch/trace.$i" -E LD_PRELOAD="$library" -E HAKMEM_SOCKET="$socket" -E HAKMEM_WAIT_US=5000000 \
        "$programs/prog-decay" $each <"$scratch/words" 2>"$scratch/err.$i" &
    pids="$pids $!"
    background_pids="$background_pids $!"
done
all_freed() {
    [ "$(cat "$scratch"/trace.* | grep -c 'hakmem-mark-freed')" -eq $n_programs ]
}
# resident KEY: VmRSS, or VmHWM for the most there was; of all the programs, in bytes.
resident() {
    for tracer in $pids; do
        for pid in $(cat "/proc/$tracer/task/$tracer/children"); do
            sed -n 's/^'"$1"':[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
        done
    done | awk '{ sum += $1 } END { print sum * 1024 }'
}
poll 60 all_freed || fail "the programs do not come to their end"
before=$(resident VmHWM)
# All but the SuperSlabs in which a block of a thread cache lies.
decayed() { [ "$(resident VmRSS)" -lt $((before / 2)) ] && [ "$(daemon_figure idle_bytes)" -eq 0 ]; }
poll 30 decayed || fail "still resident: $(resident VmRSS) of $before; $("$BUILD/hakmemctl" --socket "$socket" stats)"
after=$(resident VmRSS)
[ "$before" -ge $((n_programs * each * 3 / 4)) ] || fail "only $before bytes were resident: nothing is tested"
[ "$(daemon_figure reclaimed_bytes_total)" -ge $((n_programs * each / 2)) ] || fail "the daemon reclaimed little"

# One word each; what they did between the marks is to read it.
for i in $(seq $n_programs); do echo >&9; done
exec 9>&-
for pid in $pids; do
    wait "$pid" || fail "a program ended with status $?"
done
for i in $(seq $n_programs); do
    sed -n '/hakmem-mark-freed/,/hakmem-mark-decayed/p' "$scratch/trace.$i" | grep -v hakmem-mark >"$scratch/between"
    [ "$(grep -c 'read(0' "$scratch/between")" -ge 1 ] || fail "no wait in the trace: $(cat "$scratch/between")"
    ! grep -v 'read(0' "$scratch/between" || fail "program $i made system calls while its memory was taken back"
done
echo "$n_programs programs that grew to $each bytes: $before bytes resident, $after when the daemon had taken back the rest"
expect_all_back
