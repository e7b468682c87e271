"""What the page and the documentation say in summary: groups, means, verdicts, failures."""

import math


def by_group(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return groups


def mean_ratio(rows, name):
    logs = [math.log(one["ratio"]) for row in rows if (one := row["cells"].get(name)) and one.get("ratio")]
    return math.exp(sum(logs) / len(logs)) if logs else 0.0


def group_means(rows, names):
    return {name: mean for name in names if (mean := mean_ratio(rows, name))}


def worst_spread(row):
    return max((one["spread_percent"] for one in row["cells"].values() if one["status"] == "ok"), default=0.0)


def verdicts(rows, name):
    result = {"ahead": [], "even": [], "behind": []}
    for row in rows:
        verdict = row["cells"].get(name, {}).get("verdict")
        if verdict:
            result[verdict].append(row)
    return result


def problems(rows):
    """One line for each failure; the same failure of several rows once."""
    found = {}
    for row in rows.values():
        for name, one in row["cells"].items():
            if one["status"] != "ok":
                found.setdefault((name, one["status"], one.get("reason", "")), []).append(row["name"])
    for (name, status, reason), where in found.items():
        places = ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        yield f"{name}: {status}: {reason} ({places})"


def tail_kib(one):
    """Leased but never touched, at the peak: what was leased at most, less the memfd pages that were resident, and those given back."""
    leased, touched = one.get("leased_peak_kib"), one.get("full_shmem_kib")
    return max(0.0, leased - touched - one.get("holes_kib", 0)) if leased is not None and touched is not None else 0.0


def tail_text(one):
    tail = tail_kib(one)
    return f" + tail {tail / 1024:.0f}" if tail >= 1024 else ""
