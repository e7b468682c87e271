#!/bin/sh
# python3: a few hundred MB of objects built and sorted by threads, then subprocesses and a fork pool. All objects through
# malloc (PYTHONMALLOC=malloc), then as Python does by default, with its own small-object arenas.
. "$(dirname "$0")/../lib.sh"
need_library
python=/usr/bin/python3
[ -x "$python" ] || skip "no $python"

cat >"$scratch/work.py" <<'PYTHON'
import hashlib, multiprocessing, random, subprocess, sys, threading

def digest(items):
    h = hashlib.sha256()
    for item in items:
        h.update(item)
    return h.hexdigest()

results = {}

def build(n):
    r = random.Random(n)
    strings = [b"%d:" % r.getrandbits(60) + b"x" * r.randrange(1, 900) for _ in range(80000)]
    by_length = {}
    for s in strings:
        by_length.setdefault(len(s), []).append(s)
    strings.sort()
    copies = [s[::-1] for s in strings]
    results[n] = digest(strings) + digest(copies[::7]) + str(sum(map(len, by_length.values())))

threads = [threading.Thread(target=build, args=(n,)) for n in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
for n in sorted(results):
    print(n, results[n])

held = [bytes([n % 256]) * 2000 for n in range(20000)]

def in_child(n):
    own = [bytearray(1000 + n) for _ in range(5000)]
    return digest(held[n::50]) + str(len(own))

with multiprocessing.get_context("fork").Pool(3) as pool:
    for line in pool.map(in_child, range(6)):
        print(line)
print(digest(held))

for n in range(3):
    code = "print(len(sorted(str(i) * %d for i in range(60000))))" % (n + 1)
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
PYTHON

daemon_start_warm
same_output python-malloc env PYTHONMALLOC=malloc "$python" "$scratch/work.py"
same_output python-default "$python" "$scratch/work.py"
