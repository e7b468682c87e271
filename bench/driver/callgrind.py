"""Instruction counts under callgrind: per call of malloc and free in steady state, and the hottest instructions.

Steady state: the same program with twice the iterations does everything else just as often, so the difference of two runs
is what the additional calls cost.
"""

import os
import re
import subprocess

COST_LINE = re.compile(r"^(0x[0-9a-f]+|\+\d+|-\d+|\*) ")


class Counts:
    """Self cost by function and by instruction, calls and inclusive cost of callees, of one callgrind output file."""

    def __init__(self):
        self.self_cost = {}  # (object, function): instructions
        self.instructions = {}  # (object, address): instructions
        self.calls = {}  # (caller, callee): [calls, inclusive instructions]

    def total(self):
        return sum(self.self_cost.values())

    def minus(self, other):
        result = Counts()
        for mine, theirs, target in ((self.self_cost, other.self_cost, result.self_cost),
                                     (self.instructions, other.instructions, result.instructions)):
            for key, cost in mine.items():
                if cost - theirs.get(key, 0) > 0:
                    target[key] = cost - theirs.get(key, 0)
        for key, (calls, cost) in self.calls.items():
            before = other.calls.get(key, [0, 0])
            if calls > before[0]:
                result.calls[key] = [calls - before[0], cost - before[1]]
        return result

    def calls_of(self, function):
        return sum(calls for (_, callee), (calls, _) in self.calls.items() if callee == function)

    def inclusive(self, function):
        return sum(cost for (_, callee), (_, cost) in self.calls.items() if callee == function)


def parse(path):
    counts = Counts()
    obj = function = callee = ""
    call_line = 0  # calls announced by the line before
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("ob="):
                obj = line[3:].strip()
            elif line.startswith("fn="):
                function = line[3:].strip()
            elif line.startswith("cfn="):
                callee = line[4:].strip()
            elif line.startswith("calls="):
                call_line = int(line[6:].split()[0])
            elif COST_LINE.match(line):
                words = line.split()
                cost = int(words[-1])
                if call_line:
                    entry = counts.calls.setdefault((function, callee), [0, 0])
                    entry[0] += call_line
                    entry[1] += cost
                    call_line = 0
                else:
                    counts.self_cost[(obj, function)] = counts.self_cost.get((obj, function), 0) + cost
                    address = int(words[0], 16)
                    counts.instructions[(obj, address)] = counts.instructions.get((obj, address), 0) + cost
    return counts


def run(command, environment, folder, tag):
    out = os.path.join(folder, f"callgrind.{tag}")
    options = ["--tool=callgrind", f"--callgrind-out-file={out}", "--dump-instr=yes", "--compress-pos=no",
               "--compress-strings=no"]
    done = subprocess.run(["valgrind", *options, *command], check=False, capture_output=True, text=True,
                          env=environment, timeout=600)
    if done.returncode or not os.path.exists(out):
        raise RuntimeError(f"callgrind: {done.stderr.strip()[-300:]}")
    return parse(out)


def disassembly(path):
    """{address: text} of an object file."""
    done = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], check=False, capture_output=True, text=True)
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"\s*([0-9a-f]+):\s+(.*)", line)
        if match:
            found[int(match[1], 16)] = match[2].split("#")[0].strip()
    return found
