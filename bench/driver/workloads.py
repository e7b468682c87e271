"""The table of workloads: what is run, which figure of it is shown, and which way is better.

A workload is one command; it gives one row, or several where one run has several figures worth a row. `{n}` in a command
stands for the size, larger in the full run than in the quick one, `{inputs}` for the folder of generated files. `ask` is the target of the project for the row, times
glibc; `ask_alone` the same for the library without the daemon, where it differs (None: no target beyond the best peer).
"""

from dataclasses import dataclass, field

SEED = 42
MIB = 1 << 20


@dataclass(frozen=True)
class Figure:
    """One row of the table. `key` is a field of the program's closing line, or process.X of the launcher's."""

    row: str
    title: str
    key: str
    unit: str
    more_is_better: bool
    ask: float | None = None
    ask_alone: float | None = None


@dataclass(frozen=True)
class Workload:
    name: str
    group: str
    command: str
    figures: tuple[Figure, ...]
    sizes: tuple[int, int] = (1, 1)  # {n} in the full run, in the quick run
    least_s: float = 0  # {n} is so much more that glibc's malloc takes so long: for rates that differ much by machine
    repeat: tuple[int, int] = (1, 1)  # processes per measurement
    timeout_s: int = 60
    max_rounds: int = 99
    live_mib: float = 0  # the live set, where most of it must be leased in the row with the daemon; 0: hakmem may choose
    about: str = ""
    foreign: bool = False  # not one of our programs: a witness tells which malloc it got
    scenario: str = ""  # more than one command: see redis.py
    tags: tuple[str, ...] = field(default=())


def ops(row, title, ask=None, unit="ops/s", key="value", **more):
    return (Figure(row, title, key, unit, True, ask, **more),)


def micros(row, title, ask=None, unit="us", key="value", **more):
    return (Figure(row, title, key, unit, False, ask, **more),)


def _everyday():
    group = "Everyday: many small blocks"
    mixed = "16 to 1039 bytes, random slot freed or filled"
    yield Workload("random_mixed", group, f"random_mixed {{n}} 8192 {SEED}",
                   ops("random_mixed", "Random sizes, 8192 slots, 1 thread", 1.9), (10_000_000, 2_000_000),
                   about=mixed + "; the workload of the profile that hakmem grew out of")
    yield Workload("random_mixed-ws256", group, f"random_mixed {{n}} 256 {SEED}",
                   ops("random_mixed-ws256", "Random sizes, 256 slots", 1.2), (10_000_000, 2_000_000), about=mixed)
    yield Workload("random_mixed-ws1M", group, f"random_mixed {{n}} 1048576 {SEED}",
                   ops("random_mixed-ws1M", "Random sizes, 1M slots", 2.5), (2_500_000, 1_500_000),
                   live_mib=100, about=mixed + "; about 270 MB live")
    yield Workload("compiler_tree", group, f"compiler_tree {{n}} {SEED}",
                   ops("compiler_tree", "Compiler's trees and strings", unit="functions/s"), (800, 160),
                   about="names interned, trees built, folded and dropped, text grown")
    yield Workload("tiny_factor", group, f"tiny_factor 32 {{n}} {SEED}",
                   micros("tiny_factor", "Factorisation with tiny blocks", 1.4), (30, 8),
                   about="Pollard's rho with 8 to 24 byte numbers, every intermediate a new block")
    yield Workload("logic_minimise", group, f"logic_minimise 11 {{n}} {SEED}",
                   micros("logic_minimise", "Logic minimiser", 1.35), (60, 12),
                   about="Quine and McCluskey over sets of cubes")
    yield Workload("nbody_tree", group, f"nbody_tree 20000 {{n}} {SEED}",
                   micros("nbody_tree", "N-body tree code", 1.2), (10, 3),
                   about="Barnes-Hut: a tree per step, mostly arithmetic")
    yield Workload("strings_map", group, f"strings_map {{n}} {SEED}",
                   micros("strings_map", "C++ std::map and std::string"), (20, 5),
                   about="20,000 string keys per round into maps of vectors of strings")


def _threads():
    group = "Threads"
    remote = "every block is freed by another thread than its own"
    for n_threads, ask in ((2, 1.8), (4, 1.8)):
        yield Workload(f"random_mixed-{n_threads}t", group, f"random_mixed_mt {n_threads} {{n}} 8192 {SEED} local",
                       ops(f"random_mixed-{n_threads}t", f"Random sizes, 8192 slots, {n_threads} threads", ask),
                       (16_000_000 // n_threads, 3_000_000 // n_threads), about="a working set per thread")
    for n_threads, ask in ((2, 9.0), (4, 4.5)):
        yield Workload(f"remote_free-{n_threads}t", group, f"random_mixed_mt {n_threads} {{n}} 8192 {SEED} remote",
                       ops(f"remote_free-{n_threads}t", f"Freed by the other thread, {n_threads} threads", ask),
                       (2_000_000 // n_threads, 800_000 // n_threads), about=remote)
    yield Workload("queue_handoff", group, f"queue_handoff {{n}} 1 {SEED}",
                   ops("queue_handoff", "One allocates, one frees, by a queue", 4.5, "blocks/s"),
                   (2_000_000, 800_000), about="a bounded queue between a producer and a consumer")
    yield Workload("server_churn", group, f"server_churn 2 {{n}} 20000 2000 {SEED}",
                   ops("server_churn", "Server churn, threads hand over", 2.3, "replacements/s"), (100, 20),
                   about="larson-like: a thread inherits the blocks of the one before")
    yield Workload("stress_sizes", group, f"stress_sizes 2 {{n}} {SEED}",
                   ops("stress_sizes", "Random 8..16000 bytes, cross-thread", 4.7, "blocks/s"), (6000, 1200),
                   about="two threads, small sizes more often, a third of the blocks freed by the other; what waits for a thread is live"
                         " without bound: compare memory by peak_live_kib")
    yield Workload("thread_burst", group, f"thread_burst {{n}} 2 {SEED}",
                   ops("thread_burst", "Many short-lived threads", unit="threads/s"), (1600, 800),
                   about="400 blocks each; half outlive their thread")


def _cold():
    group = "Cold start: fresh processes"
    for n_mib, repeat in ((1, (40, 10)), (16, (8, 4)), (64, (3, 2)), (256, (1, 1))):
        for shape, label, low, high in (("small", "256..1024-byte blocks", 256, 1024), ("64K", "64 KiB blocks", 65536, 65536)):
            asks = {"small": (12.0, None), "64K": (32.0, 5.0)}[shape] if n_mib == 16 else (None, None)
            row = f"cold-{n_mib}M-{shape}"
            figures = (Figure(row, f"{n_mib} MB in {label}, main to last touch", "value", "us", False, asks[0]),
                       Figure(row + "-process", f"{n_mib} MB in {label}, whole process", "process.wall_us", "us",
                              False, asks[1]))
            yield Workload(row, group, f"cold_start {n_mib}M {low} {high} {SEED}", figures, repeat=repeat,
                           live_mib=n_mib if n_mib > 4 else 0,
                           about="a fresh process allocates, touches and exits; a loop of processes",
                           tags=("cold", shape, str(n_mib)))
    yield Workload("true", group, "/bin/true", micros("true", "Empty process (true)", 0.95, key="process.wall_us"),
                   repeat=(100, 40), foreign=True, about="spawn to exit of a program that does nothing")


def _large():
    group = "Large blocks, realloc, calloc"
    for how, title, n_threads, ask, sizes in (
            ("all", "64 KiB..16 MiB, every page touched", 1, 15.0, (200, 80)),
            ("ends", "64 KiB..16 MiB, ends touched", 1, 5.5, (12_000, 4000)),
            ("ends", "64 KiB..16 MiB, ends, 2 threads", 2, 2.6, (6000, 2000))):
        row = f"large-{how}" + (f"-{n_threads}t" if n_threads > 1 else "")
        yield Workload(row, group, f"large_blocks {how} {{n}} {n_threads} {SEED}",
                       ops(row, title, ask, "blocks/s"), sizes, least_s=0.2, about="eight live blocks per thread")
    for how, title, ask, sizes in (("grow", "realloc: doubling to 64 MiB", 3.0, (4, 2)),
                                   ("append", "realloc: 64 buffers appended to", 1.2, (20, 4)),
                                   ("random", "realloc: random sizes", 4.2, (60, 12))):
        yield Workload(f"realloc-{how}", group, f"realloc_patterns {how} {{n}} {SEED}",
                       ops(f"realloc-{how}", title, ask, "calls/s"), sizes)
    for how, title, ask, sizes in (("untouched", "calloc 1..8 MB, untouched", 2.0, (400, 200)),
                                   ("filled", "calloc 1..8 MB, filled", 2.5, (100, 50)),
                                   ("small", "calloc 16..512 bytes", 2.0, (5_000_000, 1_000_000))):
        yield Workload(f"calloc-{how}", group, f"calloc_patterns {how} {{n}} {SEED}",
                       ops(f"calloc-{how}", title, ask, "calls/s"), sizes)


def _life():
    group = "Fork, bursts, memory held"
    yield Workload("fork_heap", group, "fork_heap 256M 1M {n}",
                   micros("fork_heap", "Fork of a 256 MB heap, child writes 1 MB", 10.0, "us/child"), (20, 6),
                   live_mib=200, about="time per child, fork to wait")
    yield Workload("burst", group, f"burst 20M {{n}} 500M {SEED}",
                   micros("burst", "Idle server suddenly needs 500 MB")
                   + micros("burst-slowest", "Same burst, slowest 1 MB request", key="slowest_request_us"),
                   (300, 100), live_mib=400, about="blocks of 512 bytes to 64 KiB, every page touched")
    yield Workload("fragmentation", group, f"fragmentation 64M {{n}} {SEED}",
                   ops("fragmentation", "Changing sizes over phases")
                   + (Figure("fragmentation-peak", "Changing sizes: peak bytes held per live byte", "peak_over_live", "x", False),
                      Figure("fragmentation-settled", "Changing sizes: held after 9 of 10 are freed", "settled_over_live", "x",
                             False)),
                   (5000, 2500), max_rounds=3, live_mib=50,
                   about="eight phases of sizes, 64 MB live; then a tenth stays and the program idles for 5 s")


def _programs():
    group = "Programs people run"
    seconds = "process.wall_us"
    yield Workload("redis", group, "redis-server", ops("redis", "redis: SET GET INCR LPUSH HSET", unit="requests/s"),
                   (80_000, 20_000), max_rounds=5, live_mib=8, foreign=True, scenario="redis",
                   about="redis-benchmark, 20 connections, pipelines of 8, 200-byte values")
    yield Workload("redis-bgsave", group, "redis-server",
                   ops("redis-bgsave", "redis: SET during BGSAVE", unit="requests/s")
                   + micros("redis-bgsave-fork", "redis: the fork of BGSAVE, mean of three", key="fork_us"),
                   (100_000, 40_000), max_rounds=5, live_mib=10, foreign=True, scenario="redis-bgsave",
                   about="three snapshots under load; 400-byte values")
    yield Workload("sqlite3", group, "sqlite3 :memory: .read\\ {inputs}/load.sql",
                   micros("sqlite3", "sqlite3: load, index, query", key=seconds), foreign=True, max_rounds=5,
                   about="two tables in memory, two indexes, joins and sorts")
    yield Workload("python3", group, "{python} {bench}/objects.py {n}",
                   micros("python3", "python3: JSON, dictionaries, strings", key=seconds), (4, 2), foreign=True,
                   about="Python's own small-object allocator in front, as installed")
    yield Workload("gcc", group, "gcc -O1 -w -c -o {inputs}/large.o {inputs}/large.c",
                   micros("gcc", "gcc -O1 of a large file", key=seconds), foreign=True, max_rounds=5,
                   about="driver, cc1 and as, all with the allocator")
    yield Workload("make-j2", group, "make -s -B -j2 -C {inputs}/tree",
                   micros("make-j2", "make -j2 of a tree of small C files", key=seconds), foreign=True, max_rounds=5,
                   about="hundreds of short processes")


def all_workloads():
    for part in (_everyday, _threads, _cold, _large, _life, _programs):
        yield from part()
