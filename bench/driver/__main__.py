"""The benchmark driver: every workload with every allocator, interleaved round by round.

    python3 bench/driver [--build DIR] [--quick] [--bench REGEX] [--rounds N] [--peers 'tcmalloc hakmem name=lib.so']

Prints a table of ratios to glibc; with --report DIR writes results.json and index.html there.
For one row while tuning:  python3 bench/driver --bench '^random_mixed$' --rounds 3 --peers tcmalloc,hakmem,hakmem-alone
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time

import allocators
import daemon_figures
import document
import machine
import page
import page_paths
import plan
import summary
import table
from hakmemd import Daemon
from checks import RunError
from plan import Progress
from run import Runner
from workloads import all_workloads


MOST_TIMEOUTS = 3


def parse_arguments():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build", help="folder of the artifacts")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    parser.add_argument("--bench", default="", help="regular expression on row and workload names")
    parser.add_argument("--rounds", type=int, default=0, help="so many for every row, however long it takes")
    parser.add_argument("--peers", default="", help="names limit the run to these; name=file adds a peer")
    parser.add_argument("--report", default="", help="folder for results.json and index.html")
    parser.add_argument("--by", choices=("time", "cpu"), default="time",
                        help="ratios by the figure, or by processor time (on a busy machine)")
    parser.add_argument("--option", action="append", default=[], metavar="section.key=value",
                        help="setting for the private hakmemd")
    parser.add_argument("--timeout", type=int, default=0, help="seconds for a run, in place of each workload's own")
    parser.add_argument("--list", action="store_true", help="names of the rows")
    parser.add_argument("--render", metavar="DIR", help="write DIR/index.html anew from DIR/results.json")
    parser.add_argument("--docs", metavar="FILE", help="with --render: write the text of FILE from the results too")
    parser.add_argument("--compare", nargs=2, metavar="results.json", help="rankings of two runs against each other")
    return parser.parse_args()


def selected(pattern):
    expression = re.compile(pattern)
    for workload in all_workloads():
        if expression.search(workload.name) or any(expression.search(f.row) for f in workload.figures):
            yield workload


def begin(workload, chosen):
    """A workload's progress before its first round: {allocator name: {"status", "reason", "samples"}}."""
    results = {one.name: {"status": "ok", "samples": []} for one in chosen}
    for one in chosen:
        if one.problem:
            results[one.name].update(status="missing", reason=one.problem)
    return Progress(workload, results)


def run_round(runner, progress, chosen, daemon, n_timeouts):
    """One run with each allocator, in turn. `n_timeouts`: of each allocator so far; one that hangs in row after row is not
    to take a minute of each."""
    began = time.monotonic()
    for one in chosen:
        result = progress.results[one.name]
        if result["status"] != "ok":
            continue
        if n_timeouts.get(one.name, 0) >= MOST_TIMEOUTS:
            result.update(status="timeout", reason=f"not run: {MOST_TIMEOUTS} rows before it ran out of time", samples=[])
            continue
        run_once(runner, progress.workload, one, result, progress.n_rounds == 0, daemon)
        if result["status"] == "timeout":
            n_timeouts[one.name] = n_timeouts.get(one.name, 0) + 1
    progress.n_rounds += 1
    progress.seconds += time.monotonic() - began
    progress.is_over = all(result["status"] != "ok" for result in progress.results.values())


def measure_all(runner, progress, chosen, plan, daemon):
    n_timeouts = {}
    while one := plan.next(progress):
        n_started = sum(other.n_rounds > 0 for other in progress)
        if sys.stderr.isatty():
            print(f"\r{one.workload.name[:28]:28} round {one.n_rounds + 1}, {n_started} of {len(progress)} rows begun, "
                  f"{time.monotonic() - plan.started:.0f} s ", end="", file=sys.stderr, flush=True)
        run_round(runner, one, chosen, daemon, n_timeouts)
    if sys.stderr.isatty():
        print("\r" + 78 * " " + "\r", end="", file=sys.stderr, flush=True)


def run_once(runner, workload, one, result, is_first, daemon):
    """One sample, or the reason why there is none; and what the daemon did meanwhile and after."""
    cpu_before = daemon.cpu_seconds() if one.with_daemon else 0
    try:
        sample = sample_twice(runner, workload, one, is_first, result)
    except RunError as error:
        result.update(status=error.status, reason=str(error), samples=[])
        return
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        result.update(status="error", reason=f"{type(error).__name__}: {error}", samples=[])
        return
    if one.with_daemon and not daemon.is_running():
        result.update(status="crash", reason=f"the daemon ended: {daemon.log_tail()}", samples=[])
        return
    if one.with_daemon:
        daemon.settle()
        sample["daemon_cpu_s"] = daemon.cpu_seconds() - cpu_before
    result["samples"].append(sample)


def sample_twice(runner, workload, one, is_first, result):
    """A sample; a second try where the library did not get what it was to get from the daemon: it waits for 2 ms, and a
    machine that looked elsewhere for that long says nothing of the row. Told in the results."""
    try:
        return runner.sample(workload, one, with_stats=is_first)
    except RunError as error:
        if error.status != "wrong-allocator" or not one.with_daemon:
            raise
        result["retried"] = str(error)
    return runner.sample(workload, one, with_stats=is_first)


def rows_of(workload, results, command, by_cpu):
    for figure in workload.figures:
        row = {"name": figure.row, "title": figure.title, "group": workload.group, "about": workload.about,
               "unit": figure.unit, "more_is_better": figure.more_is_better, "ask": figure.ask,
               "ask_alone": figure.ask_alone, "command": command, "tags": list(workload.tags), "cells": {}}
        for name, result in results.items():
            one = summary.cell(result["samples"], figure) if result["status"] == "ok" else None
            if one:
                row["cells"][name] = {"status": "ok", **one}
                if "retried" in result:
                    row["cells"][name]["retried"] = result["retried"]
            else:
                row["cells"][name] = {"status": result["status"] if result["status"] != "ok" else "error",
                                      "reason": result.get("reason", "the run gave no such figure")}
        summary.summarise(row, by_cpu)
        yield row


def rounds_text(rows):
    """How many rounds the rows got: "5" or "3 to 7"."""
    counts = [len(one["rounds"]) for row in rows.values() for one in row["cells"].values() if one["status"] == "ok"]
    if not counts:
        return "0"
    return str(max(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def run(arguments):
    pace = plan.QUICK if arguments.quick else plan.FULL
    if arguments.rounds:
        pace = plan.Pace(arguments.rounds, arguments.rounds, 0)
    settings = {**machine.daemon_settings(), **dict(o.split("=", 1) for o in arguments.option)}
    needed = allocators.wants_daemon(arguments.peers)
    daemon = Daemon(arguments.build, settings) if needed else None
    runner = Runner(arguments.build, arguments.quick, allocators.clean_environment(), arguments.timeout)
    started = time.time()
    rows = {}
    try:
        chosen = allocators.choose(arguments.peers, arguments.build, daemon and daemon.socket,
                                   daemon.problem if daemon else "not asked for")
        names = [one.name for one in chosen if one.name != "glibc"]
        if daemon and not daemon.problem:
            daemon.wait_stocked()
        workloads = list(selected(arguments.bench))
        progress = [begin(workload, chosen) for workload in workloads]
        measure_all(runner, progress, chosen, plan.Plan(pace, time.monotonic()), daemon)
        if progress:
            table.print_header(names)
        for one in progress:
            command = one.workload.command.format(n=runner.size(one.workload), inputs="INPUTS", bench="bench",
                                                  python="python3")
            for row in rows_of(one.workload, one.results, command, arguments.by == "cpu"):
                rows[row["name"]] = row
                table.print_row(row, names, arguments.by == "cpu")
        table.print_problems(rows)
        figures, paths = {}, {}
        if needed and not daemon.problem and re.search(arguments.bench, "daemon"):
            daemon.stop()
            figures = daemon_figures.measure(arguments.build, runner, settings, arguments.quick)
            table.print_daemon(daemon_figures.lines(figures), figures.get("error"))
            paths = daemon_figures.program(runner, "page_paths", *page_paths.arguments(arguments.quick))
        return {"started": time.strftime("%Y-%m-%d %H:%M", time.localtime(started)), "rows": rows, "rounds": rounds_text(rows), "quick": arguments.quick, "seconds": time.time() - started,
                "machine": {**machine.describe(arguments.build), "first_touch": runner.touched()}, "daemon_settings": settings,
                "daemon": figures, "page_paths": paths, "daemon_problem": daemon.problem if daemon else "not asked for",
                "allocators": [{"name": one.name, "about": one.about, "file": one.library,
                                "problem": one.problem} for one in chosen]}
    finally:
        runner.close()
        if daemon:
            daemon.stop()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def render(folder, docs):
    """The page, and the documentation if asked for, from what is in the folder."""
    results = load(os.path.join(folder, "results.json"))
    profile_file = os.path.join(folder, "profile.json")
    profile = load(profile_file) if os.path.exists(profile_file) else None
    target = os.path.join(folder, "index.html")
    write(target, page.render(results, profile))
    print(f"the report: {target}")
    if docs:
        write(docs, document.render(results, profile))
        print(f"the text: {docs}")


def compare(old, new):
    """Says of each row whether both runs rank its quiet allocators alike. 1: one does not."""
    n_changed = 0
    counts = {}
    for name, outcome, detail in summary.compare(load(old), load(new)):
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome != "same":
            print(f"{outcome:9} {name}: {detail}")
        n_changed += outcome == "changed"
    print(", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) or "no rows")
    print("same: the allocators whose spread is under 5 % in both runs rank alike in both; changed: they do not; "
          "noisy: fewer than two are that quiet; missing: not measured in both")
    return 1 if n_changed or not counts else 0


def list_rows(pattern):
    for workload in selected(pattern):
        for figure in workload.figures:
            print(f"{figure.row:28} {workload.group}: {figure.title}")


def main():
    arguments = parse_arguments()
    if arguments.list:
        list_rows(arguments.bench)
        return 0
    if arguments.compare:
        return compare(*arguments.compare)
    if arguments.render:
        render(arguments.render, arguments.docs)
        return 0
    results = run(arguments)
    if not results["rows"] and not results["daemon"]:
        print("no row matches", file=sys.stderr)
        return 2
    if arguments.report:
        os.makedirs(arguments.report, exist_ok=True)
        write(os.path.join(arguments.report, "results.json"), json.dumps(results, indent=1))
        render(arguments.report, arguments.docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
