"""The machine and its settings, as the report names them; and the settings of the private daemon on it."""

import os
import platform
import subprocess

GIB = 1 << 30


def read(path, default=""):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return default


def _field(text, key):
    for line in text.splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return ""


def memory_bytes():
    return int(_field(read("/proc/meminfo"), "MemTotal").split()[0]) * 1024


def available_bytes():
    return int(_field(read("/proc/meminfo"), "MemAvailable").split()[0]) * 1024


def first_line(*command):
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
        return (done.stdout or done.stderr).splitlines()[0] if (done.stdout or done.stderr) else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def describe(build):
    """An ordered dictionary of lines for the page."""
    thp = "/sys/kernel/mm/transparent_hugepage/"
    os_release = read("/etc/os-release")
    name = next((line.split("=", 1)[1].strip('"') for line in os_release.splitlines()
                 if line.startswith("PRETTY_NAME=")), platform.system())
    return {
        "processor": _field(read("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes() / GIB, 1),
        "system": name,
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "compiler": first_line("cc", "--version"),
        "thp_enabled": read(thp + "enabled"),
        "thp_shmem_enabled": read(thp + "shmem_enabled"),
        "thp_defrag": read(thp + "defrag"),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "not visible"),
        "load_before": read("/proc/loadavg"),
        "hakmem": version(build),
    }


def version(build):
    try:
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], check=False, capture_output=True, text=True,
                                cwd=os.path.dirname(os.path.abspath(__file__))).stdout.strip()
    except OSError:
        commit = ""
    program = os.path.join(build, "hakmemd")
    own = first_line(program, "--version") if os.path.exists(program) else "not built"
    return f"{own} ({commit})" if commit else own


def daemon_settings():
    """A stock that holds the largest workload, where the machine has the memory for it; all else as installed."""
    stock = min(768 << 20, memory_bytes() // 8)
    return {"pool.min": f"{stock >> 20}M", "pool.max": f"{2 * stock >> 20}M"}
