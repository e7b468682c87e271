"""The daemon's own figures: leases on the wire, page work beside memset, cost of clients, wake-ups while idle.

But for the page work, which is measured under each of the kernel's settings of huge pages, all is measured with
a daemon of its own, with a request limit that a benchmark does not meet; all else as in the main run.
"""

import glob
import json
import os
import resource
import subprocess
import time

from hakmemd import Daemon

IDLE_S = (10, 3)
SHMEM_ENABLED = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
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
            "cpu_s_per_hour": (daemon.cpu_seconds() - cpu) * 3600 / seconds}


def shmem_modes():
    """Yields the kernel's settings of huge pages for shared memory one after the other, in force; what was set before is put
    back. Only the one in force where it may not be changed."""
    try:
        with open(SHMEM_ENABLED, encoding="ascii") as file:
            before = file.read().split("[")[1].split("]")[0]
        with open(SHMEM_ENABLED, "w", encoding="ascii") as file:
            file.write(before)
    except (OSError, IndexError):
        yield "as set"
        return
    try:
        for mode in ("never", "advise", "always"):
            with open(SHMEM_ENABLED, "w", encoding="ascii") as file:
                file.write(mode)
            yield mode
    finally:
        with open(SHMEM_ENABLED, "w", encoding="ascii") as file:
            file.write(before)


def page_figures(build, runner, settings, quick):
    """daemon_pages under each setting, each with a daemon of its own, so that its stock is made under it."""
    figures = {}
    for mode in shmem_modes():
        daemon = Daemon(build, {**settings, **LIMITS})
        if daemon.problem:
            figures[mode] = {"error": daemon.problem}
            continue
        try:
            daemon.wait_stocked()
            figures[mode] = program(runner, "daemon_pages", daemon.socket, "128M" if quick else "256M",
                                    int(settings.get("reclaim.idle_ms", 1000)))
        finally:
            daemon.stop()
    return figures


def most_clients(wanted):
    """So many clients as the limit of descriptors has room for: the daemon and the program that connects have the same one."""
    return min(wanted, int(resource.getrlimit(resource.RLIMIT_NOFILE)[1] / 1.8))


def measure(build, runner, settings, quick):
    daemon = Daemon(build, {**settings, **LIMITS})
    if daemon.problem:
        return {"error": daemon.problem}
    try:
        daemon.wait_stocked()
        pool = daemon.pool() or {}
        n = 400 if quick else 2000
        socket = daemon.socket
        figures = {
            "pool": pool,
            "idle": idle_figures(daemon, quick),
            "lease_1": program(runner, "daemon_lease", socket, 1, n, "quiet"),
            "lease_16": program(runner, "daemon_lease", socket, 16, n // 20, "quiet"),
            "lease_1_busy": program(runner, "daemon_lease", socket, 1, n, "busy"),
            "lease_16_busy": program(runner, "daemon_lease", socket, 16, n // 20, "busy"),
            "decay": program(runner, "daemon_decay", socket, os.path.abspath(os.path.join(build, "libhakmem.so")),
                             *(("5", "20M") if quick else ("20", "100M"))),
            "clients": program(runner, "daemon_clients", socket, daemon.process.pid,
                               most_clients(1000 if quick else 10000), 100 if quick else 500),
            "churn": program(runner, "daemon_churn", socket, daemon.process.pid, 200 if quick else 1000,
                             3 if quick else 60),
            "churn_fork": program(runner, "daemon_churn", socket, daemon.process.pid, 200 if quick else 1000,
                                  3 if quick else 10, "fork"),
        }
        if not daemon.is_running():
            figures["error"] = f"the daemon ended: {daemon.log_tail()}"
    finally:
        daemon.stop()
    pages = page_figures(build, runner, settings, quick)
    figures.update({f"pages_{mode.replace(' ', '_')}": found for mode, found in pages.items()})
    figures["pages"] = figures.get("pages_advise") or next(iter(pages.values()))
    return figures


# (label, unit, path into the figures, note)
LINES = (
    ("Lease of 1 SuperSlab, round trip, median", "us", "lease_1.p50_us", "request, reply, descriptor; daemon otherwise idle"),
    ("the same, 99th percentile", "us", "lease_1.p99_us", ""),
    ("the same, prewarmer, scrubber and puncher busy, median", "us", "lease_1_busy.p50_us", "by a second process"),
    ("the same, 99th percentile", "us", "lease_1_busy.p99_us", ""),
    ("Lease of 16 SuperSlabs (32 MiB), round trip, median", "us", "lease_16.p50_us", "one extent, one descriptor"),
    ("the same, 99th percentile", "us", "lease_16.p99_us", ""),
    ("the same, prewarmer, scrubber and puncher busy, median", "us", "lease_16_busy.p50_us", ""),
    ("the same, 99th percentile", "us", "lease_16_busy.p99_us", ""),
    ("Event loop away for more than 1 ms by its own doing, while busy", "", "lease_1_busy.loop_late_own", "times; without waiting for a processor"),
    ("the longest of all measured here", "us", "lease_16_busy.loop_longest_own_us", "0: none above 250"),
    ("Mapping and first touch of a leased SuperSlab, median", "us", "lease_1.map_touch_p50_us", "2 MiB"),
    ("the same of a 32 MiB extent", "us", "lease_16.map_touch_p50_us", "each of its 16 pages"),
    ("Leases of 1 SuperSlab per second, one client", "/s", "lease_1.per_second", ""),
    ("Share of leased memory in 2 MiB pages", "", "lease_1.huge_share", "1: all of it"),
    ("memset of fresh huge pages in a program", "MiB/s", "pages.memset_fresh_mib_s", "for comparison"),
    ("memset of memory in use", "MiB/s", "pages.memset_again_mib_s", "for comparison"),
    ("Prewarm, shmem_enabled=never", "MiB/s", "pages_never.prewarm_mib_s", "stock made from nothing, worker threads"),
    ("Prewarm, advise", "MiB/s", "pages_advise.prewarm_mib_s", ""),
    ("Prewarm, always", "MiB/s", "pages_always.prewarm_mib_s", ""),
    ("Scrub, shmem_enabled=never", "MiB/s", "pages_never.scrub_mib_s", "from return to being clean again"),
    ("Scrub, advise", "MiB/s", "pages_advise.scrub_mib_s", ""),
    ("Scrub, always", "MiB/s", "pages_always.scrub_mib_s", ""),
    ("Punch", "MiB/s", "pages.punch_mib_s", "idle memory to the host, from a trim"),
    ("Idle memory back at the host, unasked", "s", "pages.decay_s", "includes reclaim.idle_ms"),
    ("Held by programs that grew to 100 MB each", "MiB", "decay.grown_mib", "20 of them, with the library; quick: 5, 20 MB"),
    ("the same, when they have freed all of it", "MiB", "decay.freed_mib", "resident memory, all of them"),
    ("the same, when the daemon has taken back what is idle", "MiB", "decay.decayed_mib", "unasked"),
    ("How often these programs ran meanwhile", "", "decay.clients_ran", "0: no system call"),
    ("Time that it took", "s", "decay.seconds", "includes reclaim.idle_ms"),
    ("Connected clients", "", "clients.connected", ""),
    ("Private memory of the daemon per idle client", "KiB", "clients.anon_kib_per_client", ""),
    ("Shared memory of the daemon per idle client", "KiB", "clients.shmem_kib_per_client", "the ledger's pages"),
    ("Descriptors of the daemon per idle client", "", "clients.fds_per_client", "socket, and pidfd while there are many"),
    ("Lease among so many clients, median", "us", "clients.among_p50_us", ""),
    ("the same with none", "us", "clients.alone_p50_us", ""),
    ("the figures of all of them, median", "us", "clients.among_stats_p50_us", "hakmemctl stats"),
    ("Clients that connect per second", "/s", "clients.connects_per_second", "one after the other"),
    ("Clients that connect, lease and leave per second", "/s", "clients.churn_per_second", "one after the other"),
    ("Processes started a second that lease and exit", "/s", "churn.per_second", "wanted: 1000, for a minute; of one address space, as after vfork"),
    ("of these, without a lease", "", "churn.failed", ""),
    ("from connecting to the lease, median, first sixth", "us", "churn.first_p50_us", ""),
    ("the same, last sixth", "us", "churn.last_p50_us", ""),
    ("99th percentile, first sixth", "us", "churn.first_p99_us", ""),
    ("the same, last sixth", "us", "churn.last_p99_us", ""),
    ("processor time of the daemon for each", "us", "churn.daemon_us_per_program", ""),
    ("event loop away for more than 1 ms by its own doing meanwhile", "", "churn.loop_late_own", "times"),
    ("what the daemon's private memory grew by", "KiB", "churn.anon_kib", "resident"),
    ("and its descriptors", "", "churn.fds", ""),
    ("and the kernel's shmem inodes", "", "churn.shmem_inodes", "of the whole host"),
    ("The same with an address space each, processes a second", "/s", "churn_fork.per_second", "fork: wanted 1000, for 10 s; what the machine can start"),
    ("from connecting to the lease, 99th percentile, last sixth", "us", "churn_fork.last_p99_us", ""),
    ("Wake-ups per minute while idle", "", "idle.wake_ups_per_minute", ""),
    ("Processor time per hour while idle", "s", "idle.cpu_s_per_hour", ""),
)


def lines(figures):
    """(label, value or None, unit, note) of each figure, in the order of LINES."""
    for label, unit, path, note in LINES:
        part, key = path.split(".")
        found = figures.get(part, {})
        yield label, found.get(key), unit, note if key in found else found.get("error", note)
