#!/bin/sh
# posix_spawn, vfork, system and popen share the address space until they exec: they must work beneath threads that
# allocate, and must not convert the heap (no SuperSlab is pinned).
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
mkfifo "$scratch/hold"
under_hakmem "$programs/prog-fork-storm" spawn 60 <"$scratch/hold" >"$scratch/out" 2>"$scratch/err" &
program=$!
background_pids=$program
exec 9>"$scratch/hold"
has_spawned() {
    kill -0 "$program" 2>/dev/null || fail "ended early: $(cat "$scratch/out" "$scratch/err")"
    grep -q spawned "$scratch/out"
}
poll 50 has_spawned || fail "does not finish"
leased=$(daemon_figure leased_bytes)
pinned=$(daemon_figure pinned_bytes)
[ "$leased" -gt 0 ] || fail "no leased memory"
[ "$pinned" -eq 0 ] || fail "$pinned bytes are pinned, although nobody forked"
exec 9>&-
wait "$program" || fail "$(cat "$scratch/out" "$scratch/err")"
background_pids=
expect_all_back
