#!/bin/sh
# Before main and after it the library serves; in secure execution it ignores its environment.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm
printf 'constructed\nmain\nexit handler\ndestructed\n' >"$scratch/expected"
for run in under_private under_hakmem; do
    $run "$programs/prog-late" >"$scratch/out" 2>"$scratch/err" || fail "$run: status $?"
    cmp "$scratch/expected" "$scratch/out" || fail "$run: $(cat "$scratch/out")"
    [ "$(grep -c '"fallbacks"' "$scratch/err")" -eq 1 ] || fail "$run: no, or no single, line of figures"
done
# stderr may be gone, or no longer the terminal's, when the figures are to be written.
under_private "$programs/prog-late" 2>&- >"$scratch/out" || fail "stderr closed: status $?"
cmp "$scratch/expected" "$scratch/out" || fail "stderr closed: $(cat "$scratch/out")"

# Secure execution: a set-user-id program, and one with a file capability, linked with the library.
need cc setpriv
cc -std=gnu11 -O1 -w -fno-builtin -D_GNU_SOURCE -o "$scratch/confined" "$tests/system/prog-confined.c" \
    "$BUILD/libhakmem.a" -lpthread || fail "does not link"
connections() {
    daemon_figure connections_total
}
# as_nobody PROGRAM: what another user's environment makes of it.
as_nobody() {
    setpriv --reuid 65534 --regid 65534 --clear-groups \
        env HAKMEM_SOCKET="$socket" HAKMEM_STATS=1 "$1" free 16 >"$scratch/out" 2>"$scratch/err" ||
        fail "$1 as another user: $(cat "$scratch/out" "$scratch/err")"
}
setpriv --reuid 65534 --regid 65534 --clear-groups true 2>/dev/null || skip "must be root to change the user"
chmod 777 "$socket"
as_nobody "$scratch/confined"
grep -q '"fallbacks"' "$scratch/err" || fail "an ordinary program does not heed its environment: nothing is tested"

# ignores_environment PROGRAM
ignores_environment() {
    before=$(connections)
    as_nobody "$1"
    ! grep -q '"fallbacks"' "$scratch/err" || fail "$1 heeds HAKMEM_STATS"
    # The query itself is a connection.
    [ "$(connections)" -le $((before + 1)) ] || fail "$1 heeds HAKMEM_SOCKET"
}
cp "$scratch/confined" "$scratch/setuid"
chmod 4755 "$scratch/setuid"
ignores_environment "$scratch/setuid"
if command -v setcap >/dev/null && cp "$scratch/confined" "$scratch/capable" &&
    setcap cap_net_bind_service+ep "$scratch/capable" 2>/dev/null; then
    ignores_environment "$scratch/capable"
else
    echo "no file capabilities here"
fi
