#!/bin/sh
# Many blocks that need half of their last SuperSlab, or two thirds: the rest of it is not resident, from private memory or
# from the daemon, and stays so when they come and go. It can be used all the same.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
for bytes in 1100000 1280000 2200000 2600000; do
    for under in under_private under_hakmem; do
        $under "$programs/prog-peak" "$programs/prog-tails" "$bytes" 60 >"$scratch/peak" 2>"$scratch/err" ||
            fail "$bytes, $under: $(cat "$scratch/err")"
        [ "$(($(tail -n 1 "$scratch/peak") * 1024))" -le "$((bytes * 60 * 13 / 10))" ] ||
            fail "$bytes, $under: $(tail -n 1 "$scratch/peak") KiB resident for 60 blocks"
        # What comes and goes pays once: 60 tails, and as many again where free private memory was too much (surplus.h).
        purged=$(grep '"fallbacks"' "$scratch/err" | json_get purged_bytes | sort -n | tail -n 1)
        [ "$purged" -gt 0 ] && [ "$purged" -le "$((2 * 60 * 2097152))" ] || fail "$bytes, $under: $purged bytes were purged"
    done
done
expect_all_back
