"""The report's charts: gnuplot makes SVG, which goes into the page as it is. All figures come from the results."""

import re
import shutil
import subprocess

COLOURS = {"hakmem": "#0b6e4f", "hakmem-alone": "#8fd0b4", "glibc": "#4a4e57", "glibc-thp": "#6b7280",
           "mimalloc": "#d1495b", "jemalloc": "#e0a030", "tcmalloc": "#30638e"}
SPARE = ("#7b4fa3", "#a3684f", "#4fa39b", "#a34f7e")
# gnuplot's point types: a shape each, so that colour alone does not tell them apart.
SHAPES = {"glibc": 2, "glibc-thp": 13, "mimalloc": 7, "jemalloc": 9, "tcmalloc": 5, "hakmem": 15, "hakmem-alone": 14}
FONT = "DejaVu Sans,Helvetica,Arial,sans-serif"
INK = "#22252b"
FAINT = "#d9dce1"


def available():
    return shutil.which("gnuplot") is not None


def colour(name, names):
    if name in COLOURS:
        return COLOURS[name]
    strangers = [n for n in names if n not in COLOURS]
    return SPARE[strangers.index(name) % len(SPARE)]


def shape(name):
    return SHAPES.get(name, 11)


def quote(text):
    """For gnuplot's enhanced text in double quotes."""
    text = re.sub(r"([_^{}@&~])", r"\\\\\1", text)
    return '"' + text.replace('"', "'") + '"'


def draw(script, width, height, label):
    """The SVG element of a gnuplot script. `label` says what the picture shows, to those who cannot see it."""
    head = (f'set terminal svg size {width},{height} dynamic enhanced font "{FONT},13" linewidth 1.2\n'
            f'set border 3 linecolor rgb "{FAINT}"\nset tics textcolor rgb "{INK}" nomirror\n'
            f'set key textcolor rgb "{INK}"\nset grid back linecolor rgb "{FAINT}" linewidth 0.7\n')
    done = subprocess.run(["gnuplot"], input=head + script, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode or "<svg" not in done.stdout:
        raise RuntimeError(f"gnuplot: {done.stderr.strip()[:500]}")
    svg = done.stdout[done.stdout.index("<svg"):]
    # Several pictures in one page: ids must not meet.
    prefix = "c" + re.sub(r"\W", "", label)[:40]
    svg = re.sub(r"(id=['\"])", rf"\1{prefix}-", svg)
    svg = re.sub(r"(href=['\"]#)", rf"\1{prefix}-", svg)
    svg = re.sub(r"(url\(#)", rf"\1{prefix}-", svg)
    svg = re.sub(r"<title>.*?</title>", "", svg, count=1, flags=re.S)
    svg = re.sub(r"<desc>.*?</desc>", "", svg, count=1, flags=re.S)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def datablock(name, lines):
    return f"${name} << EOD\n" + "\n".join(lines) + "\nEOD\n"


def points_with_halo(block, name, names, size):
    """A peer's points, on a white ground so that they are seen on a bar too."""
    for one_size, rgb in ((size * 1.4, "#ffffff"), (size, colour(name, names))):
        yield (f"${block} using 1:2 with points pointtype {shape(name)} pointsize {one_size} linewidth 1.5 "
               f"linecolor rgb '{rgb}'")


def label_place(row, low, high):
    """Right of everything that is drawn in a row, by a fixed part of the axis's length."""
    drawn = [one["ratio"] for one in row["cells"].values() if one.get("ratio")] + [row.get("ask") or 0, 1.0]
    return max(drawn) * (high / low) ** 0.022


def group_bars(rows, names):
    """A group's rows: bars of both hakmem rows from glibc's 1 to their ratio, peers as points, the best one named."""
    rows = [row for row in rows if row.get("best_peer")]
    if not rows:
        return ""
    ratios = [c["ratio"] for row in rows for c in row["cells"].values() if c.get("ratio")]
    ratios += [row["ask"] for row in rows if row.get("ask")]
    low, high = min(0.5, min(ratios) * 0.8), max(2.2, max(ratios) * 1.8)
    script = f"set logscale x 2\nset xrange [{low}:{high}]\nset yrange [{len(rows) - 0.4}:-0.6]\n"
    script += 'set format x "%gx"\nset xlabel "times glibc: more is better"\n'
    script += f'set lmargin 40\nset rmargin 3\nset tmargin 1\nset bmargin 3.2\nset ytics scale 0\nunset grid\n'
    script += f'set grid xtics back linecolor rgb "{FAINT}" linewidth 0.7\n'
    script += "set ytics (" + ", ".join(f"{quote(row['title'])} {i}" for i, row in enumerate(rows)) + ")\n"
    script += f'set arrow from 1,-0.6 to 1,{len(rows) - 0.4} nohead linecolor rgb "{COLOURS["glibc"]}" linewidth 1.5\n'
    script += "set style fill solid 1.0 noborder\nset key off\n"
    plots, labels = [], []
    for name, top, bottom in (("hakmem", -0.36, 0.06), ("hakmem-alone", 0.1, 0.34)):
        bars = [f"{c['ratio']} {i + top} {c['ratio']} {i + bottom}" for i, row in enumerate(rows)
                if (c := row["cells"].get(name)) and c.get("ratio")]
        if bars:
            block = name.replace("-", "_")
            script += datablock(block, bars)
            plots.append(f"${block} using (1):2:(1):1:2:4 with boxxyerror linecolor rgb '{colour(name, names)}'")
            if name == "hakmem":
                script += datablock("ratios", [f"{label_place(row, low, high)} {i - 0.15} {row['cells'][name]['ratio']:.2f}"
                                               for i, row in enumerate(rows) if row["cells"].get(name, {}).get("ratio")])
                labels.append(f"$ratios using 1:2:(sprintf('%.2f', $3)) with labels left font ',12' textcolor rgb '{INK}'")
    for name in names:
        if name in ("glibc", "hakmem", "hakmem-alone"):
            continue
        points = [f"{c['ratio']} {i}" for i, row in enumerate(rows) if (c := row["cells"].get(name)) and c.get("ratio")]
        if points:
            block = "peer_" + re.sub(r"\W", "_", name)
            script += datablock(block, points)
            plots += points_with_halo(block, name, names, 0.75)
    best = [(i, row) for i, row in enumerate(rows) if row["best_peer"] != "glibc"]
    if best:
        script += datablock("best", [f"{row['cells'][row['best_peer']]['ratio']} {i} \"{row['best_peer']}\""
                                     for i, row in best])
        plots.append(f"$best using 1:2 with points pointtype 6 pointsize 1.5 linewidth 1.5 linecolor rgb '{INK}'")
    asks = [f"{row['ask']} {i}" for i, row in enumerate(rows) if row.get("ask")]
    if asks:
        script += datablock("asks", asks)
        plots.append(f"$asks using 1:2:(0):(0.42) with vectors nohead linecolor rgb '{INK}' linewidth 1.4")
        plots.append(f"$asks using 1:2:(0):(-0.42) with vectors nohead linecolor rgb '{INK}' linewidth 1.4")
    if not plots:
        return ""
    script += "plot " + ", \\\n  ".join(plots + labels) + "\n"
    return draw(script, 1080, 74 + 34 * len(rows), rows[0]["group"])


def curves(series, names, label, x_label, y_label, x_tics, log_y=True):
    """`series`: {allocator: [(x, y), ...]}. Lines with the allocators' shapes; hakmem's are thicker."""
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    script = "set logscale x 2\n" + ("set logscale y 10\nset format y \"%.0s%c\"\n" if log_y else "set yrange [0:*]\n")
    script += "set xtics (" + ", ".join(f'"{x}" {x}' for x in x_tics) + ")\n"
    script += f"set xrange [{min(x_tics) / 1.3}:{max(x_tics) * 1.3}]\n"
    script += f"set xlabel {quote(x_label)}\nset ylabel {quote(y_label)} offset 0.5\nset key off\nset lmargin 10\nset rmargin 2\n"
    plots = []
    for name, points in series.items():
        block = "s_" + re.sub(r"\W", "_", name)
        script += datablock(block, [f"{x} {y}" for x, y in points])
        width = 3 if name.startswith("hakmem") else 1.6
        plots.append(f"${block} using 1:2 with linespoints pointtype {shape(name)} pointsize 0.8 linewidth {width} "
                     f"linecolor rgb '{colour(name, names)}'")
    if not plots:
        return ""
    script += "plot " + ", \\\n  ".join(plots) + "\n"
    return draw(script, 520, 340, label)


def overview(groups, names):
    """Geometric means by group: one row of points a group. `groups`: [(title, {allocator: mean ratio})]"""
    means = [mean for _, by_name in groups for mean in by_name.values()]
    if not means:
        return ""
    low, high = min(0.7, min(means) * 0.85), max(2.2, max(means) * 1.5)
    script = f"set logscale x 2\nset xrange [{low}:{high}]\nset yrange [{len(groups) - 0.4}:-0.6]\n"
    script += 'set format x "%gx"\nset xlabel "times glibc, geometric mean of the group: more is better"\n'
    script += "set lmargin 34\nset rmargin 3\nset tmargin 1\nset bmargin 3.2\nset ytics scale 0\nset key off\nunset grid\n"
    script += f'set grid xtics back linecolor rgb "{FAINT}" linewidth 0.7\nset style fill solid 1.0 noborder\n'
    script += "set ytics (" + ", ".join(f"{quote(title)} {i}" for i, (title, _) in enumerate(groups)) + ")\n"
    script += f'set arrow from 1,-0.6 to 1,{len(groups) - 0.4} nohead linecolor rgb "{COLOURS["glibc"]}" linewidth 1.5\n'
    plots, labels = [], []
    for name, top, bottom in (("hakmem", -0.34, 0.06), ("hakmem-alone", 0.1, 0.32)):
        bars = [f"{by_name[name]} {i + top} {i + bottom}" for i, (_, by_name) in enumerate(groups) if name in by_name]
        if bars:
            block = name.replace("-", "_")
            script += datablock(block, bars)
            plots.append(f"${block} using (1):2:(1):1:2:3 with boxxyerror linecolor rgb '{colour(name, names)}'")
            if name == "hakmem":
                script += datablock("means", [f"{max(max(by_name.values()), 1.0) * (high / low) ** 0.022} {i - 0.14} {by_name[name]:.2f}"
                                              for i, (_, by_name) in enumerate(groups) if name in by_name])
                labels.append(f"$means using 1:2:(sprintf('%.2f', $3)) with labels left font ',13' textcolor rgb '{INK}'")
    for name in names:
        points = [f"{by_name[name]} {i}" for i, (_, by_name) in enumerate(groups) if name in by_name]
        if name in ("glibc", "hakmem", "hakmem-alone") or not points:
            continue
        block = "peer_" + re.sub(r"\W", "_", name)
        script += datablock(block, points)
        plots += points_with_halo(block, name, names, 0.85)
    if not plots:
        return ""
    script += "plot " + ", \\\n  ".join(plots + labels) + "\n"
    return draw(script, 1080, 80 + 40 * len(groups), "Overview")
