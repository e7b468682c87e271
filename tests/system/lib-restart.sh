#!/bin/sh
# The daemon is killed, and stopped, in mid-run: the program goes on, correct, without it; a new daemon is found and used; and
# what was leased by the old one stays intact.
. "$(dirname "$0")/../lib.sh"
need_library
mkfifo "$scratch/in" "$scratch/out"
under_hakmem "$programs/prog-steps" <"$scratch/in" >"$scratch/out" 2>"$scratch/err" &
program=$!
background_pids=$program
exec 8>"$scratch/in" 9<"$scratch/out"

step() {
    echo "$*" >&8
    read -r answer <&9 || fail "$*: the program has ended: $(cat "$scratch/err")"
    [ "$answer" = ok ] || fail "$*: $answer"
}
is_used() {
    step grow 6
    [ "$(daemon_figure leased_bytes)" -gt 0 ]
}
daemon_start_warm -o reclaim.idle_ms=50
step grow 40
[ "$(daemon_figure leased_bytes)" -gt 0 ] || fail "nothing is leased"
for end in kill stop kill stop; do
    step free
    "daemon_$end"
    # At once, in the very state of that moment, and again.
    step grow 10
    step check
    step free
    step grow 30
    step check
    daemon_start_warm -o reclaim.idle_ms=50
    poll 15 is_used || fail "the daemon after a $end is not used"
    step check
done
step drop
step grow 20
step check
exec 8>&-
wait "$program" || fail "status $?"
background_pids=
cat "$scratch/err"
expect_all_back
