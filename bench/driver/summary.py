"""From rounds to figures: median, spread, ratio to glibc, best peer, verdict."""

import statistics

NOISY_PERCENT = 5.0


def quartile(values, share):
    """Linear interpolation between the sorted values."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def spread_percent(values):
    """Distance between the quartiles, of the median. With fewer than four rounds, the whole range."""
    middle = statistics.median(values)
    if len(values) < 2 or not middle:
        return 0.0
    if len(values) < 4:
        return 100.0 * (max(values) - min(values)) / abs(middle)
    return 100.0 * (quartile(values, 0.75) - quartile(values, 0.25)) / abs(middle)


def cell(rounds, figure):
    """The figures of one allocator in one row; `rounds` are the samples of its good runs."""
    values = [sample[figure.key] for sample in rounds if figure.key in sample]
    if not values:
        return None

    def median_of(key):
        found = [sample[key] for sample in rounds if sample.get(key) is not None]
        return statistics.median(found) if found else None

    result = {"median": statistics.median(values), "spread_percent": spread_percent(values), "rounds": values}
    source = "process." if figure.key.startswith("process.") else ""
    user, system = median_of(source + "user_s"), median_of(source + "system_s")
    result["user_s"], result["system_s"] = user, system
    if user is not None and user + system > 0:
        result["kernel_percent"] = 100.0 * system / (user + system)
    result["faults"] = median_of(source + "faults")
    for key in ("peak_rss_kib", "full_rss_kib", "full_pss_kib", "full_shmem_kib", "process.max_rss_kib", "daemon_cpu_s"):
        value = median_of(key)
        if value is not None:
            result[key.replace("process.", "")] = value
    leased = median_of("hakmem.leased_bytes")
    if leased is not None:
        result["leased_peak_kib"] = leased / 1024
        result["holes_kib"] = (median_of("hakmem.holes_bytes") or 0) / 1024
    if "peak_rss_kib" not in result and "max_rss_kib" in result:
        result["peak_rss_kib"] = result["max_rss_kib"]
    return result


def ratio(value, reference, more_is_better):
    """Above 1: better than the reference."""
    if not value or not reference:
        return None
    return value / reference if more_is_better else reference / value


def cpu_ratio(cell_, reference):
    own = (cell_["user_s"] or 0) + (cell_["system_s"] or 0)
    other = (reference["user_s"] or 0) + (reference["system_s"] or 0)
    return other / own if own and other else None


def summarise(row, by_cpu=False):
    """Adds ratios, the best peer and verdicts to a row whose cells are filled."""
    cells = row["cells"]
    reference = cells.get("glibc")
    row["noisy"] = False
    if not reference or reference["status"] != "ok":
        return
    for one in cells.values():
        if one["status"] == "ok":
            if by_cpu and row["unit"] != "x":
                one["ratio"] = cpu_ratio(one, reference)
            else:
                one["ratio"] = ratio(one["median"], reference["median"], row["more_is_better"])
    peers = {name: one for name, one in cells.items()
             if one["status"] == "ok" and one.get("ratio") and not name.startswith("hakmem")}
    row["noisy"] = any(one["spread_percent"] > NOISY_PERCENT for one in cells.values() if one["status"] == "ok")
    if not peers:
        return
    best = max(peers, key=lambda name: peers[name]["ratio"])
    row["best_peer"] = best
    for name in ("hakmem", "hakmem-alone"):
        own = cells.get(name)
        if own and own["status"] == "ok" and own.get("ratio"):
            own["to_best"] = own["ratio"] / peers[best]["ratio"]
            own["verdict"] = verdict(own, peers[best])
            ask = row["ask"] if name == "hakmem" else row["ask_alone"]
            if ask:
                own["ask_reached"] = own["ratio"] >= ask


def noise_share(first, second):
    """What two medians may differ by without being different: the larger spread, and at least 2 %; where one or two rounds
    leave the spread unknown, at least 10 %."""
    floor = 2.0 if min(len(first["rounds"]), len(second["rounds"])) > 2 else 10.0
    return max(floor, first["spread_percent"], second["spread_percent"]) / 100.0


def verdict(own, best):
    """ahead, even or behind: even where the difference is within the noise."""
    noise = noise_share(own, best)
    if own["to_best"] > 1 + noise:
        return "ahead"
    return "behind" if own["to_best"] < 1 / (1 + noise) else "even"


def compare(old, new):
    """Ranking of each row in two runs, by the allocators that were quiet in both. Yields (row, outcome, detail): same,
    changed, noisy or missing."""
    for name in {**old["rows"], **new["rows"]}:
        row, other = old["rows"].get(name), new["rows"].get(name)
        if not row or not other:
            yield name, "missing", "only in the " + ("first" if row else "second") + " run"
            continue
        names = [n for n, c in row["cells"].items() if c.get("ratio") and other["cells"].get(n, {}).get("ratio")]
        quiet = [n for n in names if _is_quiet(row["cells"][n]) and _is_quiet(other["cells"][n])]
        if len(names) < 2:
            yield name, "missing", "fewer than two allocators have figures in both runs"
        elif min(len(one["cells"][n]["rounds"]) for one in (row, other) for n in names) < 2:
            yield name, "noisy", "a single round: its spread is not known"
        elif len(quiet) < 2:
            worst = max(one["cells"][n]["spread_percent"] for one in (row, other) for n in names)
            yield name, "noisy", f"spread up to {worst:.1f} %"
        else:
            swapped = [f"{first} and {second} changed places ({_factor(row, first, second)}, then "
                       f"{_factor(other, first, second)})" for i, first in enumerate(quiet) for second in quiet[i + 1:]
                       if _order(row, first, second) * _order(other, first, second) < 0]
            yield name, "changed" if swapped else "same", "; ".join(swapped)


def _is_quiet(one):
    return one["spread_percent"] <= NOISY_PERCENT


def _factor(row, first, second):
    return f"{row['cells'][first]['ratio'] / row['cells'][second]['ratio']:.2f}"


def _order(row, first, second):
    """1, -1, or 0 where the two are even within their spreads."""
    a, b = row["cells"][first], row["cells"][second]
    noise = noise_share(a, b)
    times = a["ratio"] / b["ratio"]
    return 1 if times > 1 + noise else -1 if times < 1 / (1 + noise) else 0
