"""The table for the terminal: one line a row, one column an allocator, ratios to glibc."""

import sys


def colour(text, code, stream=sys.stdout):
    return f"\033[{code}m{text}\033[0m" if stream.isatty() else text


def short(value):
    """Three digits with K, M, G."""
    for limit, suffix, scale in ((1e9, "G", 1e9), (1e6, "M", 1e6), (1e4, "k", 1e3)):
        if abs(value) >= limit:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def human(value, unit):
    """A figure with its unit; microseconds as the time they are."""
    if unit.split("/")[0] == "us":
        for limit, name, scale in ((1e6, "s", 1e6), (1e3, "ms", 1e3)):
            if value >= limit:
                return f"{value / scale:.3g} {name}"
        return f"{value:.3g} µs"
    return f"{short(value)} {unit}" if unit != "x" else f"{value:.2f}×"


def cell_text(one, by_cpu):
    if one is None:
        return "-"
    if one["status"] != "ok":
        return one["status"].split("-")[0]
    mark = "~" if not by_cpu and one["spread_percent"] > 5 else ""
    return f"{one['ratio']:.2f}{mark}" if one.get("ratio") else "ok"


def print_header(names, stream=sys.stdout):
    columns = "".join(f"{name[:12]:>13}" for name in names)
    print(f"{'times glibc (more is better)':34}{'glibc':>18}{columns}  best peer, hakmem against it, ask", file=stream)


def print_row(row, names, by_cpu=False, stream=sys.stdout):
    cells = row["cells"]
    base = cells.get("glibc")
    absolute = human(base['median'], row['unit']) if base and base["status"] == "ok" else "-"
    columns = "".join(f"{cell_text(cells.get(name), by_cpu):>13}" for name in names)
    tail = f"  {row.get('best_peer', '-')}"
    for name in ("hakmem", "hakmem-alone"):
        own = cells.get(name)
        if own and "to_best" in own:
            code = {"ahead": "32", "even": "33", "behind": "31"}[own["verdict"]]
            tail += colour(f"  {own['to_best']:.2f} {own['verdict']}", code, stream)
    if row.get("ask"):
        tail += f"  ask {row['ask']:g}"
    print(f"{row['name'][:33]:34}{absolute:>18}{columns}{tail}", file=stream, flush=True)


def print_problems(rows, stream=sys.stdout):
    seen = set()
    for row in rows.values():
        for name, one in row["cells"].items():
            if one["status"] != "ok" and (name, one.get("reason")) not in seen:
                seen.add((name, one.get("reason")))
                print(f"  {row['name']}, {name}: {one['status']}: {one.get('reason', '')}", file=stream)


def print_daemon(lines, error, stream=sys.stdout):
    print("\nthe daemon's own figures", file=stream)
    for label, value, unit, note in lines:
        shown = "-" if value is None else short(value)
        print(f"  {label:56}{shown:>10} {unit:6} {note}", file=stream)
    if error:
        print(f"  {error}", file=stream)
