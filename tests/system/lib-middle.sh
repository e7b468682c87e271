#!/bin/sh
# Blocks of many middling sizes, a few of each, hold little more than was asked for: by the daemon, and alone.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm

# holds STEP BOUND: one block of every size in such steps, in hundredths of what was asked for.
holds() {
    for how in under_hakmem under_private; do
        held=$($how "$programs/prog-middle" "$1" 2>"$scratch/err") || fail "$(tail -n 3 "$scratch/err")"
        echo "$held % of what was asked for, $how: steps of $1 KiB"
        grep -q "\"fallbacks\"" "$scratch/err" || fail "the library did not serve it"
        [ "$held" -le "$2" ] || fail "steps of $1 KiB: $held % is held"
    done
}
holds 1 121
holds 8 116
holds 12 125
