"""What each call of the malloc family costs, in instructions: bench/call_costs.c under callgrind, with each allocator.

Of two runs, one with twice the calls, the difference is the steady state; the loop's own instructions are taken off.
"""

import os

import allocators
import callgrind

CALLS = 100_000
ABOUT = {
    "malloc": "malloc(100), free", "malloc_8k": "malloc(8000), free", "malloc_20k": "malloc(20000), free",
    "calloc": "calloc(1, 100), free", "aligned_alloc": "aligned_alloc(64, 128), free",
    "posix_memalign": "posix_memalign(64, 100), free", "realloc_in_place": "realloc, a few bytes more",
    "realloc_moves": "realloc, 100 to 1000 bytes and back", "usable_size": "malloc_usable_size",
}


def of_one(program, environment, folder):
    runs = [callgrind.run([program, str(n)], environment, folder, n) for n in (CALLS, 2 * CALLS)]

    def cost(kind):
        return runs[1].inclusive(f"calls_{kind}") - runs[0].inclusive(f"calls_{kind}")

    return {kind: (cost(kind) - cost("none")) / CALLS for kind in ABOUT}


def measure(build, environment, folder, hakmem_settings):
    """{allocator: {kind: instructions}}; only those that are installed."""
    program = os.path.abspath(os.path.join(build, "bench", "call_costs"))
    settings = {one.name: one.settings(False) for one in allocators.known_peers()
                if not one.problem and one.name != "glibc-thp"}
    settings["hakmem"] = {**hakmem_settings, "LD_PRELOAD": os.path.abspath(os.path.join(build, "libhakmem.so"))}
    return {name: of_one(program, {**environment, **one}, folder) for name, one in settings.items()}


def rows(costs):
    """[[what is called, instructions by allocator …]], the heads first."""
    table = [["call", *costs]]
    for kind, about in ABOUT.items():
        table.append([about, *(f"{costs[name][kind]:.0f}" for name in costs)])
    return table
