"""`make profile`: the report that hakmem grew out of, made again for hakmem, with each of its targets.

    python3 bench/driver/profile.py [--build DIR] [--report DIR]

The workload is bench_random_mixed 10000000 8192 42. Prints tables; with --report also writes profile.json there, which
the page and the documentation take in.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys

import allocators
import call_costs
import callgrind
import machine
from checks import RunError
from hakmemd import Daemon
from run import Runner, parse_output

WORKLOAD = ("10000000", "8192", "42")
ROUNDS = 5
KERNEL_PERCENT, WRAPPER_PERCENT, LOW_RATE, INSTRUCTIONS = 10.0, 5.0, 45e6, 24
SMALL = 300_000  # iterations under callgrind: this many, then twice as many
STEPPED = 20_000  # iterations stepped through one instruction at a time


def tsc_mhz():
    """Ticks of the time-stamp counter per microsecond: virtual machines rarely let us count cycles themselves."""
    match = re.search(r"^bogomips\s*:\s*([\d.]+)", machine.read("/proc/cpuinfo"), re.M)
    return float(match[1]) / 2 if match else None


def throughput(runner, program, settings):
    """Medians of ROUNDS runs: operations per second, and the kernel's share of the processor time."""
    rates, kernel = [], []
    for _ in range(ROUNDS):
        figures, out, _ = runner.launch([program, *WORKLOAD], settings)
        rates.append(parse_output(out)[0]["value"])
        kernel.append(100 * figures["system_s"] / max(figures["user_s"] + figures["system_s"], 1e-9))
    return statistics.median(rates), statistics.median(kernel)


def system_calls(runner, program, settings):
    """strace's table: [(share %, calls, name)], all calls of one run."""
    out = runner.path("strace")
    subprocess.run(["strace", "-c", "-f", "-o", out, program, *WORKLOAD], check=False, capture_output=True,
                   env={**runner.environment, **settings}, timeout=300)
    table = []
    for line in machine.read(out).splitlines():
        words = line.split()
        if len(words) >= 5 and re.fullmatch(r"[\d.]+", words[0]) and words[-1] != "total":
            table.append((float(words[0]), int(words[3]), words[-1]))
    return table


def instruction_counts(runner, program, settings):
    environment = {**runner.environment, **settings}
    folder = runner.folder.name
    runs = [callgrind.run([program, str(n), *WORKLOAD[1:]], environment, folder, n) for n in (SMALL, 2 * SMALL)]
    return runs[1].minus(runs[0])


def per_call(counts, function):
    """Instructions of a call with all it calls, as callgrind counts them."""
    calls = counts.calls_of(function)
    return counts.inclusive(function) / calls if calls else None


def steps(runner, settings, library):
    """Instructions per call as the processor executes them."""
    _, out, _ = runner.launch([os.path.join(runner.bench, "step_count"), "2000000", str(STEPPED), *WORKLOAD[1:]],
                              {**settings, "LD_PRELOAD": library}, 120)
    return json.loads(out)


def wrapper_share(counts, stepped):
    """Per cent of all the program's instructions that malloc and free themselves spend where the usual work is done by
    another function: where most calls leave them. 0 where the fast path is in malloc and free themselves."""
    share = 0.0
    for function in ("malloc", "free"):
        if stepped[function]["left_share"] > 0.5:
            share += stepped[function]["self"] * counts.calls_of(function)
    return 100 * share / counts.total()


def hottest(stepped):
    """[(share of the instructions in malloc and free and what they call, offset, text)]"""
    code = callgrind.disassembly(stepped["file"])
    hot = sorted(stepped["hot"], key=lambda one: (-round(one[0], 1), one[1]))
    return [(share, hex(offset), code.get(offset, "?")) for share, offset in hot]


def seed_targets(runner, settings, library):
    _, out, _ = runner.launch([os.path.join(runner.bench, "seed_targets")], {**settings, "LD_PRELOAD": library})
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def judge(rate, kernel, counts, stepped, wishes):
    malloc, free = stepped["malloc"]["inclusive"], stepped["free"]["inclusive"]
    both = malloc + free
    wrapper = wrapper_share(counts, stepped)
    targets = [
        {"target": f"kernel below {KERNEL_PERCENT:.0f} % of the time (was 55 %)", "measured": f"{kernel:.1f} %",
         "reached": kernel < KERNEL_PERCENT},
        {"target": f"free and malloc wrappers below {WRAPPER_PERCENT:.0f} % (was 11 %)",
         "measured": f"{wrapper:.1f} % of all instructions" + ("" if wrapper else ": the fast path is in malloc and free themselves"),
         "reached": wrapper < WRAPPER_PERCENT},
        {"target": f"{LOW_RATE / 1e6:.0f} to 50 M ops/s (was 16.5)", "measured": f"{rate / 1e6:.1f} M ops/s",
         "reached": rate >= LOW_RATE},
        {"target": f"malloc and free together at most {INSTRUCTIONS} instructions",
         "measured": f"{both:.1f}: malloc {malloc:.1f}, free {free:.1f}", "reached": both <= INSTRUCTIONS},
    ]
    return targets + wishes


def show(result):
    print("bench_random_mixed " + " ".join(WORKLOAD) + f", medians of {ROUNDS}\n")
    for name, one in result["rows"].items():
        ticks = f"{one['ticks_per_operation']:7.1f} TSC ticks/op" if one["ticks_per_operation"] else ""
        print(f"  {name:24}{one['rate'] / 1e6:8.1f} M ops/s {one['kernel_percent']:6.1f} % kernel {ticks}")
    print("\nsystem calls of the whole process, with the daemon (strace -c -f)\n")
    for share, calls, name in result["system_calls"][:12]:
        print(f"  {share:6.2f} % {calls:8}  {name}")
    print("\ninstructions per call in steady state, as executed\n")
    for name, one in result["per_call"].items():
        print(f"  {name:8} {one['inclusive']:6.1f} with all they call, {one['self']:6.1f} in the function itself; "
              f"{100 * one['left_share']:.1f} % of the calls leave it; under callgrind {one['callgrind']:.1f}")
    print("\ninstructions of a call, by allocator (callgrind, bench/call_costs.c)\n")
    for what, *figures in call_costs.rows(result["call_costs"]):
        print(f"  {what:38}" + "".join(f"{figure:>10}" for figure in figures))
    print("\nwhere the instructions are (callgrind)\n")
    for share, name in result["functions"]:
        print(f"  {share:6.2f} %  {name}")
    print("\nthe hottest instructions\n")
    for share, address, text in result["hottest"]:
        print(f"  {share:6.2f} %  {address:>10}  {text}")
    print("\ntargets\n")
    for one in result["targets"]:
        print(f"  {'reached' if one['reached'] else 'NOT REACHED':12} {one['target']}: {one['measured']}")


def collect(runner, daemon, build):
    program = os.path.abspath(os.path.join(build, "bench_random_mixed_hakmem"))
    system = os.path.abspath(os.path.join(build, "bench_random_mixed"))
    with_daemon, alone = {"HAKMEM_SOCKET": daemon.socket}, {"HAKMEM_CONNECT": "off"}
    mhz = tsc_mhz()
    rows = {}
    for name, file, settings in (("hakmem", program, with_daemon), ("hakmem alone", program, alone), ("glibc", system, {})):
        rate, kernel = throughput(runner, file, settings)
        rows[name] = {"rate": rate, "kernel_percent": kernel, "ticks_per_operation": mhz * 1e6 / rate if mhz else None}
    library = os.path.abspath(os.path.join(build, "libhakmem.so"))
    counts = instruction_counts(runner, program, alone)
    stepped = steps(runner, alone, library)
    functions = sorted(((100 * cost / counts.total(), name) for (_, name), cost in counts.self_cost.items()), reverse=True)[:10]
    targets = judge(rows["hakmem"]["rate"], rows["hakmem"]["kernel_percent"], counts, stepped,
                    seed_targets(runner, with_daemon, library))
    return {"rows": rows, "system_calls": system_calls(runner, program, with_daemon),
            "per_call": {name: {**stepped[name], "callgrind": per_call(counts, name)} for name in ("malloc", "free")},
            "call_costs": call_costs.measure(build, runner.environment, runner.folder.name, alone),
            "functions": functions, "hottest": hottest(stepped), "targets": targets, "machine": machine.describe(build)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--report", default="")
    arguments = parser.parse_args()
    daemon = Daemon(arguments.build, machine.daemon_settings())
    runner = Runner(arguments.build, False, allocators.clean_environment())
    try:
        if daemon.problem:
            print(daemon.problem, file=sys.stderr)
            return 1
        daemon.wait_stocked()
        result = collect(runner, daemon, arguments.build)
    except (RunError, RuntimeError, OSError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    finally:
        runner.close()
        daemon.stop()
    show(result)
    if arguments.report:
        os.makedirs(arguments.report, exist_ok=True)
        with open(os.path.join(arguments.report, "profile.json"), "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
