"""Runs one workload with one allocator once, and says what came out: figures, or why there are none.

A run is good only if the allocator that was asked for served the pointers: our own programs name the file of their
malloc in the closing line, foreign ones are run once with a witness library; and hakmem's own statistics must show
leases where there are to be some, and none where there are to be none.
"""

import json
import os
import re
import statistics
import subprocess
import tempfile

THROUGHPUT = re.compile(r"Throughput = (\d+) ops/s .* time=([\d.]+)s")
OWNER_NONE = 0
LEASE_MIB = 8  # a live set of this size must have made a connected library lease


class RunError(Exception):
    """Why a run has no figures: `status` is crash, timeout, wrong-allocator or error."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Runner:
    def __init__(self, build, quick, environment):
        self.build = os.path.abspath(build)
        self.bench = os.path.join(self.build, "bench")
        self.quick = quick
        self.environment = environment
        self.folder = tempfile.TemporaryDirectory(prefix="hakmem-bench-")
        self.n_files = 0

    def close(self):
        self.folder.cleanup()

    def path(self, name):
        self.n_files += 1
        return os.path.join(self.folder.name, f"{self.n_files}-{name}")

    def command(self, workload):
        words = workload.command.format(n=workload.sizes[self.quick]).split()
        if not words[0].startswith("/"):
            words[0] = os.path.join(self.bench, words[0])
        return words

    def launch(self, command, settings, timeout_s=60, repeat=1, sample_ms=0):
        """(launcher's figures, stdout, stderr) of a command. Raises RunError if it did not end well."""
        out, err = self.path("out"), self.path("err")
        options = ["--timeout", str(timeout_s), "--repeat", str(repeat), "--sample-ms", str(sample_ms),
                   "--stdout", out, "--stderr", err]
        for name, value in settings.items():
            options += ["--env", f"{name}={value}"]
        done = subprocess.run([os.path.join(self.bench, "measure"), *options, "--", *command], check=False,
                              capture_output=True, text=True, env=self.environment, timeout=timeout_s + 30)
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

    def sample(self, workload, allocator, with_stats):
        """One timed measurement: a flat dictionary of figures."""
        settings = allocator.settings(workload.foreign)
        if with_stats and allocator.is_hakmem:
            settings["HAKMEM_STATS"] = "1"
        figures, out, err = self.launch(self.command(workload), settings, workload.timeout_s,
                                        workload.repeat[self.quick])
        sample = {f"process.{key}": value for key, value in figures.items()}
        if workload.foreign:
            return sample
        lines = parse_output(out)
        for line in lines:
            check_file(allocator, line.get("malloc_file"))
            check_owner(allocator, line.get("hak_owns"))
        for key, value in lines[0].items():
            if isinstance(value, (int, float)):
                sample[key] = statistics.median(line[key] for line in lines)
        if with_stats and allocator.is_hakmem:
            sample.update(check_stats(allocator, err, workload.live_mib))
        sample.setdefault("user_s", sample["process.user_s"])
        sample.setdefault("system_s", sample["process.system_s"])
        sample.setdefault("faults", sample["process.faults"])
        return sample

    def witness(self, command, allocator, timeout_s=60):
        """Runs a foreign program once, untimed, and checks which malloc it and its children got."""
        testimony = self.path("witness")
        settings = allocator.settings(True, os.path.join(self.bench, "witness.so"))
        settings["BENCH_WITNESS"] = testimony
        figures, _, _ = self.launch(command, settings, timeout_s, 1, 20)
        self.check_testimony(testimony, allocator)
        return figures

    def check_testimony(self, path, allocator):
        if not os.path.exists(path):
            raise RunError("wrong-allocator", "no process told which malloc it got")
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file.read().splitlines():
                program, malloc_file, owned = line.split("\t")
                try:
                    check_file(allocator, malloc_file)
                    check_owner(allocator, int(owned))
                except RunError as error:
                    raise RunError(error.status, f"{program}: {error}") from None


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


def check_file(allocator, malloc_file):
    if malloc_file is not None and os.path.realpath(malloc_file) != allocator.file():
        raise RunError("wrong-allocator", f"malloc was served by {malloc_file}, not by {allocator.file()}")


def check_owner(allocator, owned):
    if owned is None or not allocator.is_hakmem:
        return
    if owned <= OWNER_NONE:
        raise RunError("wrong-allocator", "a block of the workload is not hakmem's own")


def check_stats(allocator, err, live_mib):
    """hakmem's closing statistics against what the row claims."""
    stats = None
    for line in err.splitlines():
        if line.startswith("{") and "leased_bytes" in line:
            stats = json.loads(line)
    if stats is None:
        raise RunError("wrong-allocator", "hakmem printed no statistics at exit")
    if not allocator.with_daemon and stats["leased_bytes"]:
        raise RunError("wrong-allocator", "memory was leased in the row without the daemon")
    if allocator.with_daemon and live_mib >= LEASE_MIB and not stats["leased_bytes"]:
        raise RunError("wrong-allocator", f"{live_mib} MB live, but nothing was leased from the daemon")
    return {f"hakmem.{key}": value for key, value in stats.items() if isinstance(value, (int, float))}
