#!/bin/sh
# Everything at once (prog-storm.c), on private memory and on leased memory whose daemon trims, refuses by quota, is killed, is
# stopped, and is started again all the while. STORM_SECONDS=600 storms for longer, SEED= again as before; DEBUG_LIBRARY=1 walks
# the heap's invariants, too. In a build with ThreadSanitizer the storm has the library inside, and a report is a failure.
. "$(dirname "$0")/../lib.sh"
storm=$programs/prog-storm
max_mib=150
if [ -x "$programs/storm-inside" ]; then
    storm=$programs/storm-inside
    library=
    max_mib=60
    # Its locks are the program's, and what it thinks of their order is nothing about the library.
    export TSAN_OPTIONS="detect_deadlocks=0 history_size=4 log_path=$scratch/tsan ${TSAN_OPTIONS:-}"
else
    need_library
    [ -z "${DEBUG_LIBRARY:-}" ] || use_debug_library
fi
seconds=${STORM_SECONDS:-4}
seed=${SEED:-$(date +%s)}
echo "SEED=$seed"

# ended STATUS WHERE: so the storm did. A report fails it, of a child, the daemon or its tool as well.
ended() {
    ! cat "$scratch"/tsan.* 2>/dev/null || fail "reports, $2, status $1: SEED=$seed"
    [ "$1" -eq 0 ] || fail "$2, status $1: SEED=$seed $(grep -v '"fallbacks"' "$scratch/err" | tail -n 5)"
}
# Else it was no storm. It goes on until there was one of each.
expect_counts() {
    tail -n 1 "$scratch/out"
    for what in operations cancelled signals forks 'in handlers' continued 'in children' trims prewarmed; do
        grep -q "$what [1-9]" "$scratch/out" || fail "nothing of: $what"
    done
}
storm_is_over() {
    ! kill -0 "$program" 2>/dev/null
}
ctl() {
    "$BUILD/hakmemctl" --socket "$socket" "$@" >/dev/null 2>&1
}
# The daemon's share, in turns, until the storm is over.
trouble() {
    while ! storm_is_over; do
        for what in trim quota trim kill trim stop; do
            poll 10 daemon_answers || fail "hakmemd does not answer"
            case $what in
            trim) ctl trim ;;
            quota) ctl quota bytes_per_client 30M && sleep 0.3 && ctl quota bytes_per_client 4G ;;
            kill | stop)
                "daemon_$what"
                sleep 0.1
                daemon_start -o "reclaim.idle_ms=$idle_ms"
                ;;
            esac
            sleep 0.2
            ! storm_is_over || break
        done
    done
}

under_private "$storm" "$seconds" "$seed" "$max_mib" >"$scratch/out" 2>"$scratch/err"
ended $? "on private memory"
expect_counts

for idle_ms in 1 1000; do
    daemon_start_warm -o "reclaim.idle_ms=$idle_ms"
    under_hakmem "$storm" "$seconds" "$seed" "$max_mib" >"$scratch/out" 2>"$scratch/err" &
    program=$!
    background_pids=$program
    trouble
    wait "$program"
    ended $? "on leased memory"
    background_pids=
    expect_counts
    expect_stats "$scratch/err" leased_bytes -gt 0
    expect_all_back
    daemon_stop
    ended 0 "at the daemon's end"
done
