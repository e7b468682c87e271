#!/bin/sh
# An object loaded with RTLD_DEEPBIND shares the library's malloc with the rest of the program, as php's modules have to; and
# it is looked for where the program that loads it says, not where the library would.
. "$(dirname "$0")/../lib.sh"
need_library
need cc
mkdir "$scratch/objects"
cc -O1 -fno-builtin -fPIC -shared -o "$scratch/objects/lib-deepbind-object.so" "$tests/system/lib-deepbind-object.c" &&
    cc -O1 -fno-builtin -D_GNU_SOURCE -o "$scratch/program" "$tests/system/prog-deepbind.c" -Wl,--enable-new-dtags \
        -Wl,-rpath,"$scratch/objects" -ldl || fail "does not compile"
ulimit -c 0
"$scratch/program" || fail "without the library, too"
for check in 0 1; do
    HAKMEM_CHECK=$check under_private "$scratch/program" 2>"$scratch/err" ||
        fail "check $check: status $?: $(cat "$scratch/err")"
done
# With the flag as it was it cannot work, by any allocator: else this tests nothing.
if HAKMEM_DEEPBIND=keep under_private "$scratch/program" 2>/dev/null; then
    fail "RTLD_DEEPBIND does no harm here"
fi
