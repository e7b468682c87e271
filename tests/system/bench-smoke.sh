#!/bin/sh
# The benchmark driver itself: one tiny round gives valid results and a page, and every way a row can fail is told as
# such and does not stop the rest: a library that serves no malloc, one that crashes the program, one that never
# returns, one that is not there, and a hakmem that was to lease and could not.
set -eu
: "${BUILD:=build}"
fail() {
    echo "FAIL: $1"
    exit 1
}
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
command -v gnuplot >/dev/null || { echo "gnuplot is not installed"; exit 77; }
[ -e "$BUILD/libhakmem.so" ] || { echo "libhakmem.so is not built"; exit 77; }
if ldd "$BUILD/libhakmem.so" | grep -Eq 'lib(a|t|ub)san'; then
    echo "a sanitizer's run-time cannot be preloaded into other programs"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Not this make's job server, nor its variables.
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s BUILD="$BUILD" bench-programs >"$work/make.log" 2>&1 || {
    cat "$work/make.log"
    fail "the benchmark programs do not build"
}

compile() { printf '%s\n' "$2" | "${CC:-cc}" -shared -fPIC -w -x c -o "$work/$1.so" -; }
compile liar 'int nothing_to_do_with_malloc;'
compile crasher '#include <stddef.h>
void *malloc(size_t n) { return (void *)8; }
void free(void *p) {}'
# Says it is busy only where a block is asked for, not while the loader starts the program.
compile sleeper '#include <stddef.h>
#include <unistd.h>
void *malloc(size_t n) { for (;;) pause(); }
void free(void *p) {}'

run() {
    python3 bench/driver --build "$BUILD" --quick --rounds 1 --option pool.min=32M --option pool.max=64M "$@"
}

run --bench '^(random_mixed-2t|cold-1M-small|true)$' --timeout 20 --report "$work/report" \
    --peers "tcmalloc hakmem hakmem-alone liar=$work/liar.so crasher=$work/crasher.so gone=$work/gone.so" \
    >"$work/out" || { cat "$work/out"; fail "the driver failed"; }
python3 - "$work/report/results.json" <<'PYTHON' || { cat "$work/out"; fail "results.json is not what it should be"; }
import json, shutil, sys
rows = json.load(open(sys.argv[1]))["rows"]
def status(row, name):
    return rows[row]["cells"][name]["status"]
def expect(row, name, wanted):
    found = status(row, name)
    assert found == wanted, f"{row}, {name}: {found}, not {wanted}: {rows[row]['cells'][name].get('reason')}"
assert set(rows) == {"random_mixed-2t", "cold-1M-small", "cold-1M-small-process", "true"}, set(rows)
for row in rows:
    for name in ("glibc", "hakmem", "hakmem-alone"):
        expect(row, name, "ok")
        assert rows[row]["cells"][name]["median"] > 0 and rows[row]["cells"][name]["ratio"] > 0
    expect(row, "liar", "wrong-allocator")
    expect(row, "gone", "missing")
    assert rows[row]["cells"]["hakmem"]["verdict"] in ("ahead", "even", "behind")
for row in ("random_mixed-2t", "cold-1M-small"):
    expect(row, "crasher", "crash")
PYTHON
page=$work/report/index.html
grep -q '<svg' "$page" || fail "the page has no pictures"
grep -q 'wrong-allocator' "$page" || fail "the page does not tell of the row with the wrong allocator"
if grep -Eq '(src|href)="?(https?:|//)|@import' "$page"; then
    fail "the page is not self-contained"
fi
python3 - "$page" <<'PYTHON' || fail "the page is not well formed"
import sys
from html.parser import HTMLParser
void = {"meta", "br", "link", "img", "hr", "input"}
class Walk(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids = [], set()
    def handle_starttag(self, tag, attributes):
        if tag not in void:
            self.open.append(tag)
        for key, value in attributes:
            if key == "id":
                assert value not in self.ids, f"id {value} twice"
                self.ids.add(value)
    def handle_startendtag(self, tag, attributes):
        pass
    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"
walk = Walk()
walk.feed(open(sys.argv[1], encoding="utf-8").read())
assert not walk.open, walk.open
PYTHON

python3 bench/driver --render "$work/report" --docs "$work/benchmarks.md" >"$work/out" || fail "the text was not written"
grep -q '^| .*8192 slots, 2 threads' "$work/benchmarks.md" || fail "the text has no row of the run"
if grep -q '{{' "$work/benchmarks.md"; then
    fail "a place in the text was not filled"
fi
python3 bench/driver --compare "$work/report/results.json" "$work/report/results.json" >"$work/out" ||
    fail "a run does not rank like itself"

# What memory costs by the way it comes: every way that the table names has a figure.
"$BUILD/bench/page_paths" 4M 3 >"$work/paths.json" || fail "page_paths failed"
python3 -B - "$work/paths.json" <<'PYTHON' || { cat "$work/paths.json"; fail "page_paths lacks figures"; }
import json, sys
sys.path.insert(0, "bench/driver")
import page_paths
rows = list(page_paths.rows(json.load(open(sys.argv[1]))))
assert len(rows) == len(page_paths.PATHS) and all(float(one) > 0 for row in rows for one in row[1:]), rows
PYTHON

# A time-out is a row, too, and so is a connected library that gets next to nothing from its daemon.
run --bench '^random_mixed-2t$' --timeout 3 --report "$work/slow" --peers "glibc sleeper=$work/sleeper.so" >"$work/out" ||
    fail "the driver did not outlive a time-out"
grep -q '"status": "timeout"' "$work/slow/results.json" || { cat "$work/out"; fail "a time-out is not told as one"; }
run --bench '^cold-16M-small$' --report "$work/starved" --peers hakmem --option quota.bytes_per_client=2M \
    >"$work/out" || fail "the driver failed without leases"
grep -q '"status": "wrong-allocator"' "$work/starved/results.json" || { cat "$work/out"; fail "a row without leases counts"; }
echo "the driver tells good rows from bad ones"
