"""Runs one workload with one allocator once, and says what came out: figures, or why there are none.

A run is good only if the allocator that was asked for served the pointers: our own programs name the file of their
malloc in the closing line, foreign ones are run once with a witness library; and hakmem's own statistics must show
leases where there are to be some, and none where there are to be none (checks.py).
"""

import json
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

import inputs
import machine
import redis
from checks import RunError, check_file, check_owner, check_stats, check_testimony

# Touched before every measurement: what the workload was seen to use with any allocator, and a quarter, and this; but no
# more than so large a share of what the machine can spare.
TOUCH_LEAST_MIB, TOUCH_MOST_SHARE = 64, 0.25

SIZE_FACTOR_MOST = 32

THROUGHPUT = re.compile(r"Throughput = (\d+) ops/s .* time=([\d.]+)s")


class Runner:
    def __init__(self, build, quick, environment, timeout_s=0):
        self.build = os.path.abspath(build)
        self.bench = os.path.join(self.build, "bench")
        self.quick = quick
        self.environment = environment
        self.timeout_s = timeout_s  # in place of the workloads' own, if not 0
        self.folder = tempfile.TemporaryDirectory(prefix="hakmem-bench-")
        self.inputs = os.path.join(self.folder.name, "inputs")
        self.n_files = 0
        self.peak_mib = {}  # workload name: the most it was seen to use, or is known to
        self.sizes = {}  # workload name: what {n} stands for here
        self.touches_us_per_mib = []  # the slowest and the fastest chunk of each touch_memory

    def close(self):
        self.folder.cleanup()

    def path(self, name):
        self.n_files += 1
        return os.path.join(self.folder.name, f"{self.n_files}-{name}")

    def command(self, workload):
        """The words to run. Raises RunError if the program is not on this machine."""
        own_folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        if "{inputs}" in workload.command:
            self.prepare_inputs()
        words = [word.format(n=self.size(workload), inputs=self.inputs, bench=own_folder, python=python())
                 for word in shlex.split(workload.command)]
        if not workload.foreign:
            words[0] = os.path.join(self.bench, words[0])
        elif not shutil.which(words[0]):
            raise RunError("missing", f"{words[0]} is not installed (make deps-bench)")
        return words

    def size(self, workload):
        """What {n} stands for: more than the workload's own size where glibc's malloc is done with that too soon."""
        if workload.name not in self.sizes:
            size = self.sizes[workload.name] = workload.sizes[self.quick]
            if workload.least_s:
                _, out, _ = self.launch(self.command(workload), {}, workload.timeout_s)
                least_s = workload.least_s / (4 if self.quick else 1)
                factor = math.ceil(least_s / max(json.loads(out.splitlines()[-1])["seconds"], 1e-3))
                self.sizes[workload.name] = size * min(max(factor, 1), SIZE_FACTOR_MOST)
        return self.sizes[workload.name]

    def prepare_inputs(self):
        if not os.path.isdir(self.inputs):
            os.makedirs(self.inputs)
            inputs.prepare(self.inputs, self.quick)

    def launch(self, command, settings, timeout_s=60, repeat=1, sample_ms=0):
        """(launcher's figures, stdout, stderr) of a command. Raises RunError if it did not end well."""
        timeout_s = self.timeout_s or timeout_s
        out, err = self.path("out"), self.path("err")
        options = ["--timeout", str(timeout_s), "--repeat", str(repeat), "--sample-ms", str(sample_ms),
                   "--stdout", out, "--stderr", err]
        for name, value in settings.items():
            options += ["--env", f"{name}={value}"]
        try:
            done = subprocess.run([os.path.join(self.bench, "measure"), *options, "--", *command], check=False,
                                  capture_output=True, text=True, env=self.environment, timeout=timeout_s + 30)
        except subprocess.TimeoutExpired:
            raise RunError("timeout", f"the launcher could not end it within {timeout_s + 30} s") from None
        if done.returncode:
            raise RunError("error", done.stderr.strip() or f"the launcher failed: {done.returncode}")
        figures = json.loads(done.stdout)
        texts = []
        for path in (out, err):
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
            os.unlink(path)
        if figures["timed_out"]:
            raise RunError("timeout", f"not done after {timeout_s} s")
        if figures["signal"] or figures["exit"]:
            how = f"signal {figures['signal']}" if figures["signal"] else f"exit code {figures['exit']}"
            raise RunError("crash", f"{how}: {texts[1].strip()[-300:]}")
        return figures, texts[0], texts[1]

    def touch_memory(self, workload):
        """Has the host back as much free memory as the workload is going to touch: see touch_memory.c."""
        known = self.peak_mib.setdefault(workload.name, workload.live_mib)
        n_mib = min(TOUCH_LEAST_MIB + 1.25 * known, TOUCH_MOST_SHARE * machine.available_bytes() / (1 << 20))
        done = subprocess.run([os.path.join(self.bench, "touch_memory"), str(int(n_mib) << 20)], check=False,
                              capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RunError("error", f"touch_memory: {done.stderr.strip() or done.returncode}")
        figures = json.loads(done.stdout)
        if figures["touched_mib"]:
            self.touches_us_per_mib.append((figures["slowest_us_per_mib"], figures["fastest_us_per_mib"]))

    def touched(self):
        """What the touches said of the machine, for its description."""
        if not self.touches_us_per_mib:
            return "none"
        slowest = [pair[0] for pair in self.touches_us_per_mib]
        return (f"median of the slowest 16 MiB of each: {statistics.median(slowest):.0f} us per MiB, of the fastest: "
                f"{statistics.median(pair[1] for pair in self.touches_us_per_mib):.0f}; the slowest of all: {max(slowest):.0f}")

    def sample(self, workload, allocator, with_stats):
        """One timed measurement: a flat dictionary of figures."""
        looked_at = {}
        if workload.foreign and with_stats and not workload.scenario:
            looked_at = self.witness(self.command(workload), allocator, workload.timeout_s)
        self.touch_memory(workload)
        take = redis.sample if workload.scenario else Runner.sample_program
        figures = take(self, workload, allocator, with_stats)
        if looked_at.get("sampled_pss_kib"):
            # Of the run that was not timed: the sum of the program and its children at its largest.
            for key in ("rss", "pss", "shmem"):
                figures[f"full_{key}_kib"] = looked_at[f"sampled_{key}_kib"]
        peak_kib = max(figures.get("peak_rss_kib", 0), figures.get("process.max_rss_kib", 0))
        self.peak_mib[workload.name] = max(self.peak_mib[workload.name], peak_kib / 1024)
        return figures

    def sample_program(self, workload, allocator, with_stats):
        settings = allocator.settings(workload.foreign)
        if with_stats and allocator.is_hakmem and not workload.foreign:
            settings["HAKMEM_STATS"] = "1"
        figures, out, err = self.launch(self.command(workload), settings, workload.timeout_s,
                                        workload.repeat[self.quick])
        sample = {f"process.{key}": value for key, value in figures.items()}
        for key in ("user_s", "system_s", "faults"):
            sample[key] = figures[key]
        if workload.foreign:
            return sample
        lines = parse_output(out)
        for line in lines:
            check_file(allocator, line.get("malloc_file"))
            check_owner(allocator, line.get("hak_owns"))
        for key, value in lines[0].items():
            if isinstance(value, (int, float)):
                sample[key] = statistics.median(line[key] for line in lines)
        if with_stats and "malloc_file" not in lines[0]:
            self.witness(self.command(workload), allocator, workload.timeout_s)
        if with_stats and allocator.is_hakmem:
            sample.update(check_stats(allocator, err, workload.live_mib))
        return sample

    def witness(self, command, allocator, timeout_s=60):
        """Runs a foreign program once, untimed, and checks which malloc it and its children got."""
        testimony = self.path("witness")
        settings = allocator.settings(True, os.path.join(self.bench, "witness.so"))
        settings["BENCH_WITNESS"] = testimony
        figures, _, _ = self.launch(command, settings, timeout_s, 1, 20)
        check_testimony(testimony, allocator)
        return figures


def python():
    """An interpreter that is a program, not a shim that starts a shell."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def parse_output(out):
    """The closing lines: JSON, or random_mixed's fixed line of text."""
    lines = []
    for line in out.splitlines():
        if line.startswith("{"):
            lines.append(json.loads(line))
        elif match := THROUGHPUT.match(line):
            lines.append({"value": float(match[1]), "seconds": float(match[2])})
    if not lines:
        raise RunError("error", f"no figures in the output: {out[:200]!r}")
    return lines
