"""The private daemon of a benchmark run: started once, on a socket of its own, watched, stopped at the end."""

import json
import os
import signal
import subprocess
import tempfile
import time

CLOCK_TICK = os.sysconf("SC_CLK_TCK")


class Daemon:
    """`problem` says why there is none; then every other method does nothing."""

    def __init__(self, build, settings):
        self.settings = settings
        self.process = None
        self.folder = tempfile.TemporaryDirectory(prefix="hakmem-bench-daemon-")
        self.socket = os.path.join(self.folder.name, "hakmemd.sock")
        self.program = os.path.abspath(os.path.join(build, "hakmemd"))
        self.control = os.path.abspath(os.path.join(build, "hakmemctl"))
        self.log = os.path.join(self.folder.name, "log")
        self.problem = self._start()

    def command(self):
        options = [word for key, value in self.settings.items() for word in ("-o", f"{key}={value}")]
        return [self.program, "--socket", self.socket, *options]

    def _start(self):
        for program in (self.program, self.control):
            if not os.path.exists(program):
                return f"no such file: {program}"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return f"hakmemd ended at once: {self.log_tail()}"
            if self.stats():
                return None
            time.sleep(0.05)
        return f"hakmemd does not answer: {self.log_tail()}"

    def log_tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-400:].strip()

    def ask(self, *words):
        """hakmemctl's answer as an object, or None."""
        try:
            done = subprocess.run([self.control, "--socket", self.socket, "--json", *words], check=False,
                                  capture_output=True, text=True, timeout=10)
            return json.loads(done.stdout) if done.returncode == 0 else None
        except (json.JSONDecodeError, subprocess.TimeoutExpired):
            return None

    def stats(self):
        return self.ask("stats")

    def pool(self):
        return self.ask("pool")

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def cpu_seconds(self):
        """User and system time of all its threads so far."""
        try:
            with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except (OSError, AttributeError):
            return 0.0
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICK

    def settle(self, most_s=3.0):
        """Waits until the daemon has taken back, cleaned and refilled what the last run used: its work is not to fall
        into the next run's time. What it cost is in that run's daemon_cpu_s."""
        if not self.is_running():
            return
        deadline = time.monotonic() + most_s
        quiet = 0
        before = self.cpu_seconds()
        while time.monotonic() < deadline and quiet < 3:
            time.sleep(0.02)
            now = self.cpu_seconds()
            stats = self.stats() or {}
            busy = stats.get("leased_bytes", 0) or stats.get("scrubbing_bytes", 0)
            quiet = quiet + 1 if now == before and not busy else 0
            before = now

    def wait_stocked(self, most_s=60.0):
        """Waits until the stock has reached its target and the daemon has come to rest."""
        deadline = time.monotonic() + most_s
        while self.is_running() and time.monotonic() < deadline:
            stats = self.stats() or {}
            if stats.get("stock_bytes", 0) >= 0.95 * stats.get("stock_target_bytes", 1):
                break
            time.sleep(0.1)
        self.settle(10)

    def stop(self):
        """May be called twice."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.folder.cleanup()
