"""redis-server under redis-benchmark, on a Unix socket of its own; with BGSAVE, while snapshots are taken.

The server is started by the launcher, so its processor time and peak memory are in the sample; the load generator runs
on the C library's malloc and is the same for every allocator.
"""

import csv
import json
import os
import shutil
import subprocess
import time

import machine
from checks import RunError, check_stats

KEYS = (100_000, 30_000)  # in the full run, in the quick run


def available():
    return all(shutil.which(name) for name in ("redis-server", "redis-benchmark", "redis-cli"))


class Server:
    def __init__(self, runner, settings, timeout_s):
        # Not the runner's folder alone: a Unix socket's path has to be short.
        self.folder = runner.path("redis")
        os.makedirs(self.folder)
        self.socket = os.path.join(self.folder, "s")
        self.errors = os.path.join(self.folder, "err")
        self.environment = runner.environment
        self.n_keys = KEYS[runner.quick]
        options = [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no",
                   "--dir", self.folder, "--daemonize", "no", "--rdbcompression", "no"]
        self.process = subprocess.Popen(
            [os.path.join(runner.bench, "measure"), "--timeout", str(timeout_s), "--stdout", os.devnull, "--stderr",
             self.errors, *options, "--", *command], stdout=subprocess.PIPE, text=True, env=self.environment)
        deadline = time.monotonic() + 10
        while self.cli("ping") != "PONG":
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise RunError("crash", f"redis-server did not start: {self.stderr()[-300:]}")
            time.sleep(0.02)

    def cli(self, *words):
        try:
            done = subprocess.run(["redis-cli", "-s", self.socket, *words], check=False, capture_output=True, text=True,
                                  env=self.environment, timeout=10)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.strip()

    def info(self, key):
        for line in self.cli("info").splitlines():
            if line.startswith(key + ":"):
                return line.split(":", 1)[1]
        return ""

    def memory(self):
        """The server's resident, proportional and memfd pages now, under the names of our own programs' figures."""
        pid = self.info("process_id")
        found = {}
        for file, key, name in (("smaps_rollup", "Rss:", "full_rss_kib"), ("smaps_rollup", "Pss:", "full_pss_kib"),
                                ("status", "RssShmem:", "full_shmem_kib")):
            for line in machine.read(f"/proc/{pid}/{file}").splitlines():
                if line.startswith(key):
                    found[name] = int(line.split()[1])
        return found

    def benchmark(self, tests, n_requests, *more):
        """{test: requests per second}"""
        done = subprocess.run(["redis-benchmark", "-s", self.socket, "--csv", "-q", "-c", "20", "-P", "8", "-r", str(self.n_keys),
                               "-n", str(n_requests), "-t", tests, *more], check=False, capture_output=True, text=True,
                              env=self.environment, timeout=120)
        rates = {row[0]: float(row[1]) for row in csv.reader(done.stdout.splitlines()) if len(row) > 1 and row[0] != "test"}
        if done.returncode or not rates:
            raise RunError("crash", f"redis-benchmark: {done.stderr[-200:] or done.stdout[-200:]}")
        return rates

    def stderr(self):
        try:
            with open(self.errors, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def stop(self):
        """The launcher's figures, once the server has ended."""
        if self.process.poll() is None:
            self.cli("shutdown", "nosave")
        try:
            out, _ = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.terminate()  # the launcher ends the server and says what it saw
            out, _ = self.process.communicate(timeout=30)
        return json.loads(out) if out.strip() else None


def mean_rate(rates):
    """Requests per second over the whole mix: equal numbers of each request."""
    return len(rates) / sum(1 / rate for rate in rates.values())


def snapshot_load(server, n_requests):
    """SETs while three snapshots are taken one after the other. (requests/s, mean time of the forks in us)"""
    server.benchmark("set", server.n_keys * 2, "-d", "400")
    forks, rates = [], []
    for _ in range(3):
        if "started" not in server.cli("bgsave"):
            raise RunError("error", "redis-server did not start a snapshot")
        forks.append(float(server.info("latest_fork_usec") or 0))
        rates.append(server.benchmark("set", n_requests, "-d", "400")["SET"])
        deadline = time.monotonic() + 30
        while server.info("rdb_bgsave_in_progress") == "1" and time.monotonic() < deadline:
            time.sleep(0.02)
        if server.info("rdb_last_bgsave_status") != "ok":
            raise RunError("crash", "a snapshot failed")
    return mean_rate(dict(enumerate(rates))), sum(forks) / len(forks)


def sample(runner, workload, allocator, with_stats):
    if not available():
        raise RunError("missing", "redis is not installed (make deps-bench)")
    settings = allocator.settings(True)
    if with_stats:
        runner.witness(["redis-server", "--version"], allocator)
        if allocator.is_hakmem:
            settings["HAKMEM_STATS"] = "1"
    server = Server(runner, settings, workload.timeout_s)
    n_requests = workload.sizes[runner.quick]
    figures = {}
    try:
        if workload.scenario == "redis-bgsave":
            rate, fork_us = snapshot_load(server, n_requests)
            figures = {"value": rate, "fork_us": fork_us}
        else:
            figures = {"value": mean_rate(server.benchmark("set,get,incr,lpush,hset", n_requests, "-d", "200"))}
        if with_stats:
            figures.update(server.memory())
    finally:
        launcher = server.stop()
    if not launcher or launcher["signal"] or launcher["timed_out"]:
        raise RunError("crash", f"redis-server ended badly: {server.stderr()[-300:]}")
    figures.update({f"process.{key}": value for key, value in launcher.items()})
    for key in ("user_s", "system_s", "faults"):
        figures[key] = launcher[key]
    if with_stats and allocator.is_hakmem:
        figures.update(check_stats(allocator, server.stderr(), workload.live_mib))
    shutil.rmtree(server.folder, ignore_errors=True)
    return figures
