"""Did the allocator that was asked for serve the pointers? Everything here raises RunError where it did not."""

import json
import os

OWNER_NONE = 0
LEASE_MIB = 8  # of a live set of this size and more, a connected library must have leased half


class RunError(Exception):
    """Why a run has no figures: `status` is crash, timeout, wrong-allocator or error."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


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
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{") and "leased_bytes" in line]
    if not lines:
        raise RunError("wrong-allocator", "hakmem printed no statistics at exit")
    stats = max(lines, key=lambda line: line["leased_bytes"])  # of a program and its children
    if not allocator.with_daemon and stats["leased_bytes"]:
        raise RunError("wrong-allocator", "memory was leased in the row without the daemon")
    leased_mib = stats["leased_bytes"] / (1 << 20)
    if allocator.with_daemon and live_mib >= LEASE_MIB and leased_mib < live_mib / 2:
        raise RunError("wrong-allocator", f"{live_mib} MB live, but only {leased_mib:.0f} MiB were leased from the daemon")
    return {f"hakmem.{key}": value for key, value in stats.items() if isinstance(value, (int, float))}


def check_testimony(path, allocator):
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
