#!/bin/sh
# Under tools that watch memory themselves the library stands aside, and they see what they always see: valgrind, and
# programs built with a sanitizer (with gcc's, which are shared libraries, if the sanitizer's comes before ours).
. "$(dirname "$0")/../lib.sh"
need_library
need valgrind
need cc
export HAKMEM_CONNECT=off
plain=$programs/prog-plain
sum=$("$plain" | cut -d' ' -f1-2)
[ -n "$sum" ] || fail "prog-plain prints nothing"

# is_right WHAT: the last run's output is the right one, from another malloc than ours.
is_right() {
    [ "$(cat "$scratch/out")" = "$sum another" ] || fail "$1: $(cat "$scratch/out"; tail -n 5 "$scratch/err")"
}
LD_PRELOAD=$library "$plain" >"$scratch/out" || fail "fails by itself"
[ "$(cat "$scratch/out")" = "$sum hakmem" ] || fail "the library serves nobody: $(cat "$scratch/out")"

# valgrind takes malloc's place wherever it is. (Without debug information: some compilers write what some valgrinds
# cannot read, and give up at.)
bare=$scratch/libhakmem.so
objcopy --strip-debug "$library" "$bare"
memcheck="valgrind -q --error-exitcode=9 --leak-check=full"
LD_PRELOAD=$bare $memcheck "$plain" >"$scratch/out" 2>"$scratch/err" || fail "memcheck: $(tail -n 20 "$scratch/err")"
is_right memcheck
for misuse in read-after-free overflow-1 double-free underflow-never-freed; do
    LD_PRELOAD=$bare $memcheck "$BUILD/tests/misuse/$misuse" >"$scratch/out" 2>"$scratch/err"
    grep -qE 'Invalid (read|write|free)' "$scratch/err" || fail "memcheck does not see $misuse"
done
# Or not, if it is told so: then the library runs, itself without an error.
LD_PRELOAD=$bare valgrind -q --error-exitcode=9 --soname-synonyms=somalloc=nouserintercepts "$plain" \
    >"$scratch/out" 2>"$scratch/err" || fail "the library under memcheck: $(tail -n 20 "$scratch/err")"
[ "$(cat "$scratch/out")" = "$sum hakmem" ] || fail "the library under memcheck: $(cat "$scratch/out")"

# sanitized COMPILER SANITIZER PRELOAD: a right program, and a wrong one if that is the address sanitizer's business.
sanitized() {
    for source in system/prog-plain misuse/read-after-free; do
        "$1" -w -g -O0 -fno-builtin -D_GNU_SOURCE "-fsanitize=$2" -o "$scratch/${source##*/}" "$tests/$source.c" \
            -lpthread -ldl 2>"$scratch/err" || {
            echo "$1 -fsanitize=$2: not here"
            return
        }
    done
    env ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$3" "$scratch/prog-plain" >"$scratch/out" 2>"$scratch/err"
    is_right "$1 -fsanitize=$2"
    if [ "$2" = address ]; then
        LD_PRELOAD=$3 "$scratch/read-after-free" >/dev/null 2>"$scratch/err" && fail "$1 -fsanitize=$2 sees nothing"
        grep -q 'ERROR: AddressSanitizer: heap-use-after-free' "$scratch/err" || fail "$1 -fsanitize=$2: $(cat "$scratch/err")"
    fi
    echo "$1 -fsanitize=$2: stands aside"
}
! command -v clang >/dev/null || for sanitizer in address thread; do
    sanitized clang $sanitizer "$library"
done
for sanitizer in address:libasan.so thread:libtsan.so; do
    runtime=$(gcc -print-file-name="${sanitizer#*:}" 2>/dev/null) && [ -f "$runtime" ] || continue
    sanitized gcc "${sanitizer%:*}" "$(readlink -f "$runtime") $library"
done
# In the wrong order it says so.
if [ -x "$scratch/prog-plain" ] && gcc -w -fsanitize=address -o "$scratch/asan" "$tests/system/prog-plain.c" -lpthread 2>/dev/null; then
    LD_PRELOAD=$library "$scratch/asan" >/dev/null 2>"$scratch/err" && fail "gcc's address sanitizer ran behind the library"
    grep -q 'ASan runtime does not come first' "$scratch/err" || fail "no word on the order: $(cat "$scratch/err")"
fi
