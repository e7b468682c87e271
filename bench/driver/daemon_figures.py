"""The daemon's own figures: leases on the wire, page work beside memset, cost of clients, wake-ups while idle.

A daemon of its own, with a request limit that a benchmark does not meet; all else as in the main run.
"""

import glob
import json
import os
import subprocess
import time

from hakmemd import Daemon

IDLE_S = (10, 3)
LIMITS = {"quota.requests_per_second": "1000000", "quota.requests_per_user": "1000000", "quota.clients_per_user": "20000"}


def wake_ups(pid):
    """Voluntary and forced switches of all its threads so far."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        try:
            with open(path, encoding="ascii") as file:
                total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
        except OSError:
            continue  # the thread has ended
    return total


def program(runner, name, *words):
    """The closing object of one of the daemon_* programs, or {"error": why}."""
    command = [os.path.join(runner.bench, name), *map(str, words)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120,
                              env=runner.environment)
    except subprocess.TimeoutExpired:
        return {"error": "not done after 120 s"}
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return {"error": done.stderr.strip()[-300:] or f"exit code {done.returncode}"}


def idle_figures(daemon, quick):
    """Wake-ups and processor time of a daemon that nobody asks anything."""
    seconds = IDLE_S[quick]
    pid = daemon.process.pid
    switches, cpu = wake_ups(pid), daemon.cpu_seconds()
    time.sleep(seconds)
    return {"wake_ups_per_minute": (wake_ups(pid) - switches) * 60 / seconds,
            "cpu_ms_per_minute": (daemon.cpu_seconds() - cpu) * 60_000 / seconds}


def measure(build, runner, settings, quick):
    daemon = Daemon(build, {**settings, **LIMITS})
    if daemon.problem:
        return {"error": daemon.problem}
    try:
        daemon.wait_stocked()
        pool = daemon.pool() or {}
        n = 400 if quick else 2000
        socket = daemon.socket
        idle_ms = int(settings.get("reclaim.idle_ms", 1000))
        figures = {
            "pool": pool,
            "idle": idle_figures(daemon, quick),
            "lease_1": program(runner, "daemon_lease", socket, 1, n, "quiet"),
            "lease_16": program(runner, "daemon_lease", socket, 16, n // 20, "quiet"),
            "lease_1_busy": program(runner, "daemon_lease", socket, 1, n, "busy"),
            "pages": program(runner, "daemon_pages", socket, "128M" if quick else "256M", idle_ms),
            "clients": program(runner, "daemon_clients", socket, daemon.process.pid, 100 if quick else 400,
                               100 if quick else 500),
        }
        if not daemon.is_running():
            figures["error"] = f"the daemon ended: {daemon.log_tail()}"
        return figures
    finally:
        daemon.stop()


# (label, unit, path into the figures, note)
LINES = (
    ("Lease of 1 SuperSlab, round trip, median", "us", "lease_1.p50_us", "request, reply, descriptor; daemon otherwise idle"),
    ("the same, 99th percentile", "us", "lease_1.p99_us", ""),
    ("the same, while it scrubs and prewarms, median", "us", "lease_1_busy.p50_us", ""),
    ("the same, 99th percentile", "us", "lease_1_busy.p99_us", ""),
    ("Lease of 16 SuperSlabs (32 MiB), round trip, median", "us", "lease_16.p50_us", "one extent, one descriptor"),
    ("the same, 99th percentile", "us", "lease_16.p99_us", ""),
    ("Mapping and first touch of a leased SuperSlab, median", "us", "lease_1.map_touch_p50_us", "2 MiB"),
    ("the same of a 32 MiB extent", "us", "lease_16.map_touch_p50_us", "each of its 16 pages"),
    ("Leases of 1 SuperSlab per second, one client", "/s", "lease_1.per_second", ""),
    ("Share of leased memory in 2 MiB pages", "", "lease_1.huge_share", "1: all of it"),
    ("memset of fresh huge pages in a program", "MiB/s", "pages.memset_fresh_mib_s", "for comparison"),
    ("memset of memory in use", "MiB/s", "pages.memset_again_mib_s", "for comparison"),
    ("Prewarm", "MiB/s", "pages.prewarm_mib_s", "stock made from nothing, worker threads"),
    ("Scrub", "MiB/s", "pages.scrub_mib_s", "from return to being clean again"),
    ("Punch", "MiB/s", "pages.punch_mib_s", "idle memory to the host, from a trim"),
    ("Idle memory back at the host, unasked", "s", "pages.decay_s", "includes reclaim.idle_ms"),
    ("Private memory of the daemon per idle client", "KiB", "clients.anon_kib_per_client", ""),
    ("Descriptors of the daemon per idle client", "", "clients.fds_per_client", "socket and ledger"),
    ("Clients that connect per second", "/s", "clients.connects_per_second", ""),
    ("Clients that connect, lease and leave per second", "/s", "clients.churn_per_second", ""),
    ("Wake-ups per minute while idle", "", "idle.wake_ups_per_minute", ""),
    ("Processor time per minute while idle", "ms", "idle.cpu_ms_per_minute", ""),
)


def lines(figures):
    """(label, value or None, unit, note) of each figure, in the order of LINES."""
    for label, unit, path, note in LINES:
        part, key = path.split(".")
        found = figures.get(part, {})
        yield label, found.get(key), unit, note if key in found else found.get("error", note)
