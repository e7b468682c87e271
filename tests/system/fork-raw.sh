#!/bin/sh
# Children made behind the library's back, by raw system calls: no handler runs, so with HAKMEM_DONTFORK=1 leased memory is
# absent from the child, which must stop at its first touch. Whatever the child does, the parent's memory is not harmed.
# Without the setting parent and child share the memory, and the same program must notice.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
for how in sys_fork sys_clone sys_clone3; do
    under_hakmem HAKMEM_DONTFORK=1 "$programs/prog-fork" "$how" 4 >"$scratch/out" 2>"$scratch/err" ||
        fail "$how: $(cat "$scratch/out" "$scratch/err")"
    [ "$(grep -c fail-stop "$scratch/out")" -eq 4 ] || fail "$how: a child went on: $(cat "$scratch/out")"
    under_hakmem "$programs/prog-fork" "$how" 6 >"$scratch/out" 2>"$scratch/err"
    status=$?
    [ "$status" -eq 3 ] || fail "$how without the setting: status $status, and not 3: $(cat "$scratch/out" "$scratch/err")"
    # Private memory alone needs no help.
    under_private "$programs/prog-fork" "$how" 2 >"$scratch/out" 2>"$scratch/err" ||
        fail "$how, private memory: $(cat "$scratch/out" "$scratch/err")"
    ! grep -q fail-stop "$scratch/out" || fail "$how: private memory is missing in the child"
done
# An ordinary fork in a program with this setting is as ever.
under_hakmem HAKMEM_DONTFORK=1 "$programs/prog-fork" fork 2 >"$scratch/out" 2>"$scratch/err" ||
    fail "fork with HAKMEM_DONTFORK=1: $(cat "$scratch/out" "$scratch/err")"
expect_all_back
