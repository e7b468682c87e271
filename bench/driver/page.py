"""The report: one self-contained HTML page of a run's results."""

import html
import os
import re

import call_costs
import charts
import daemon_figures
import digest
import document
import page_paths
from table import human, short

HERE = os.path.dirname(os.path.abspath(__file__))
VERDICT_WORDS = {"ahead": "ahead of", "even": "level with", "behind": "behind"}


def escape(text):
    return html.escape(str(text))


def code(text):
    """Markdown's `code` in escaped text."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", text)


def legend(names, bars=True):
    """The key to a chart of bars, or of lines, as text with the charts' colours."""
    parts = []
    marks = {2: "×", 7: "●", 9: "▲", 5: "■", 11: "▼", 13: "◆"}
    for name in names:
        if name == "glibc":
            mark = "│" if bars else "×"
        elif name.startswith("hakmem"):
            mark = "▬" if bars else "━"
        else:
            mark = marks.get(charts.shape(name), "▼")
        parts.append(f'<span><b style="color:{charts.colour(name, names)}">{mark}</b> {escape(name)}</span>')
    if bars:
        parts.append("<span><b>◯</b> best peer of the row</span><span><b>|</b> target</span>")
    return f'<p class="legend">{"".join(parts)}</p>'


def list_rows(rows, name, n_shown):
    """The first rows in sight, the others a click away."""
    if not rows:
        return "<p class='none'>None.</p>"
    items = row_items(rows, name)
    rest = "".join(items[n_shown:])
    more = f"<details><summary>and {len(items) - n_shown} more</summary><ul>{rest}</ul></details>" if rest else ""
    return f"<ul>{''.join(items[:n_shown])}</ul>{more}"


def row_items(rows, name):
    items = []
    for row in rows:
        own = row["cells"][name]
        noisy = " <em>noisy row</em>" if row["noisy"] else ""
        items.append(f"<li><b>{own['to_best']:.2f}×</b> {escape(row['best_peer'])}, {own['ratio']:.2f}× glibc: "
                     f"<a href='#{escape(row['name'])}'>{escape(row['title'])}</a>{noisy}</li>")
    return items


def summary_cards(rows, name, title):
    count = digest.verdicts(rows, name)
    total = sum(len(v) for v in count.values())
    if not total:
        return f"<div class='card'><h3>{title}</h3><p class='none'>Not measured in this run.</p></div>"
    ahead = sorted(count["ahead"], key=lambda row: -row["cells"][name]["to_best"])
    behind = sorted(count["behind"], key=lambda row: row["cells"][name]["to_best"])
    asked = [row for row in rows if "ask_reached" in row["cells"].get(name, {})]
    reached = sum(row["cells"][name]["ask_reached"] for row in asked)
    targets = f"<p>Targets reached: {reached} of {len(asked)}.</p>" if asked else ""
    mean = digest.mean_ratio(rows, name)
    return f"""<div class="card"><h3>{title}</h3>
<div class="score"><span class="ahead"><b>{len(ahead)}</b> ahead</span><span class="even"><b>{len(count['even'])}</b> level</span>
<span class="behind"><b>{len(behind)}</b> behind</span></div>
<p>of {total} rows, each against the <em>best</em> of the other allocators in that row.
Geometric mean of all rows: <b>{mean:.2f}×</b> glibc.</p>{targets}
<h4>Furthest ahead</h4>{list_rows(ahead, name, 6)}
<h4>Behind</h4>{list_rows(behind, name, 8)}</div>"""


def cell_html(row, name, one):
    if one["status"] != "ok":
        return f"<td class='bad' title='{escape(one.get('reason', ''))}'>{escape(one['status'])}</td>"
    classes = []
    if name == row.get("best_peer"):
        classes.append("best")
    if one.get("verdict"):
        classes.append(one["verdict"])
    is_rate = row["unit"].endswith("/s")  # its unit stands in the row's head
    value = short(one["median"]) if is_rate else human(one["median"], row["unit"])
    spread = f"±{one['spread_percent'] / 2:.1f}%" if len(one["rounds"]) > 1 else "one round"
    noisy = " noisy" if one["spread_percent"] > 5 else ""
    ratio = f"{one['ratio']:.2f}" if one.get("ratio") else "-"
    return (f"<td class='{' '.join(classes)}'><b>{ratio}</b><small>{escape(value)}</small>"
            f"<small class='spread{noisy}'>{spread}</small></td>")


def detail_table(row, names):
    """Processor time, memory and faults of each allocator in one row."""
    lines = []
    for name in names:
        one = row["cells"].get(name)
        if not one or one["status"] != "ok":
            continue

        def value(key, scale=1.0, digits=1):
            return f"{one[key] / scale:.{digits}f}" if one.get(key) is not None else "-"

        lines.append(f"<tr><th>{escape(name)}</th><td>{value('user_s', 1, 3)}</td><td>{value('system_s', 1, 3)}</td>"
                     f"<td>{value('kernel_percent')}</td><td>{value('faults', 1, 0)}</td><td>{value('peak_rss_kib', 1024)}</td>"
                     f"<td>{value('full_pss_kib', 1024)}</td><td>{value('full_shmem_kib', 1024)}</td>"
                     f"<td>{value('leased_peak_kib', 1024)}</td><td>{value('daemon_cpu_s', 1, 3)}</td></tr>")
    head = ("<tr><th></th><th>user s</th><th>system s</th><th>kernel %</th><th>faults</th><th>peak RSS MiB</th><th>PSS MiB</th>"
            "<th>of it memfd</th><th>leased MiB</th><th>daemon CPU s</th></tr>")
    return (f"<details><summary>processor time, memory, faults</summary><p><code>{escape(row['command'])}</code></p>"
            f"<table class='detail'>{head}{''.join(lines)}</table></details>")


def why_html(row, why):
    """The reasons, where a row of hakmem's is behind."""
    parts = []
    for name in ("hakmem", "hakmem-alone"):
        if row["cells"].get(name, {}).get("verdict") == "behind":
            reason = document.reason(row, name, why)
            if not parts or parts[-1][1] != reason:
                parts.append((name, reason))
    return "".join(f"<small class='why'>{escape(name)} is behind: {code(escape(reason))}</small>" for name, reason in parts)


def group_section(title, rows, names, why):
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = []
    for row in rows:
        noisy = "<em title='the quartiles lie more than 5 % apart'>noisy</em>" if row.get("noisy") else ""
        ask = f"<small>target {row['ask']:g}</small>" if row.get("ask") else ""
        unit = escape(row["unit"]) + ", " if row["unit"].endswith("/s") else ""
        cells = "".join(cell_html(row, name, row["cells"][name]) if name in row["cells"] else "<td>-</td>"
                        for name in names)
        body.append(f"<tr id='{escape(row['name'])}'><th>{escape(row['title'])} {noisy}<small>{escape(row['about'])}</small>"
                    f"<small>{unit}{'more' if row['more_is_better'] else 'less'} is better</small>{ask}"
                    f"{why_html(row, why)}{detail_table(row, names)}</th>{cells}</tr>")
    chart = charts.group_bars(rows, names) if charts.available() else "<p class='none'>gnuplot is not installed.</p>"
    return (f"<section><h2>{escape(title)}</h2>{legend(names)}{chart}"
            f"<table class='figures'><tr><th></th>{head}</tr>{''.join(body)}</table></section>")


def curve_section(rows, names):
    by_name = {row["name"]: row for row in rows}
    parts = []
    for suffix, how in (("", "main to last touch"), ("-process", "whole process")):
        for shape, label in (("small", "256..1024-byte blocks"), ("64K", "64 KiB blocks")):
            sizes = [n for n in (1, 16, 64, 256) if f"cold-{n}M-{shape}{suffix}" in by_name]
            series = {name: [(n, one["median"] / n) for n in sizes
                             if (one := by_name[f"cold-{n}M-{shape}{suffix}"]["cells"].get(name))
                             and one["status"] == "ok"] for name in names}
            svg = charts.curves(series, names, f"Cold start {label} {how}", "MB allocated and touched",
                                "µs per MB", sizes) if sizes else ""
            if svg:
                parts.append(f"<figure>{svg}<figcaption>{label}, {how}: less is better</figcaption></figure>")
    for prefix, label, counts in (("random_mixed", "own working set per thread", (1, 2, 4)),
                                  ("remote_free", "every block freed by another thread", (2, 4))):
        points = {n: by_name.get(prefix if n == 1 else f"{prefix}-{n}t") for n in counts}
        counts = [n for n in counts if points[n]]
        series = {name: [(n, one["median"] / 1e6) for n in counts
                         if (one := points[n]["cells"].get(name)) and one["status"] == "ok"] for name in names}
        svg = charts.curves(series, names, f"Scaling {label}", "threads", "million operations per second", counts,
                            log_y=False) if len(counts) > 1 else ""
        if svg:
            parts.append(f"<figure>{svg}<figcaption>random sizes, {label}: more is better</figcaption></figure>")
    return f"<section><h2>Cold start and scaling</h2>{legend(names, bars=False)}<div class='grid'>{''.join(parts)}</div></section>" if parts else ""


def memory_section(rows, names):
    """Peak resident memory, one row per command, of those whose memory is the point."""
    body = []
    seen = set()
    for row in rows:
        key = (row["command"], row["group"])
        held = {name: one for name, one in row["cells"].items() if one["status"] == "ok" and one.get("peak_rss_kib")}
        if key in seen or not held or max(one["peak_rss_kib"] for one in held.values()) < 8192:
            continue
        seen.add(key)
        leanest = min(one["peak_rss_kib"] for name, one in held.items() if not name.startswith("hakmem"))
        cells = "".join(f"<td><b>{held[name]['peak_rss_kib'] / leanest:.2f}</b><small>{held[name]['peak_rss_kib'] / 1024:.0f} MiB"
                        f"{digest.tail_text(held[name])}</small></td>" if name in held else "<td>-</td>" for name in names)
        body.append(f"<tr><th>{escape(row['title'])}</th>{cells}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"""<section><h2>Memory</h2><p>Peak resident memory, times the leanest of the other allocators: less is better. Pages that
hakmem leases are memfd pages: as long as a program has them mapped and has touched them they are in its RSS like any other (and in
its PSS in full, since the daemon does not keep them mapped); leased but never touched pages are in no process's RSS and are shown as
<em>+ tail</em>. The daemon's stock, which no program has yet, is not in this table: it is a setting (pool.min, pool.max) and belongs to
the host.</p><table class="figures"><tr><th></th>{head}</tr>{''.join(body)}</table></section>"""


def daemon_section(figures):
    if not figures:
        return ""
    body = "".join(f"<tr><th>{escape(label)}<small>{escape(note)}</small></th><td>{'-' if value is None else escape(short(value))} "
                   f"{escape(unit)}</td></tr>" for label, value, unit, note in daemon_figures.lines(figures))
    error = f"<p class='bad'>{escape(figures['error'])}</p>" if figures.get("error") else ""
    return f"<section><h2>The daemon's own figures</h2>{error}<table class='figures narrow'>{body}</table></section>"


def paths_section(figures):
    if not figures:
        return ""
    body = "".join(f"<tr><th>{escape(way.replace('`', ''))}</th><td>{escape(touch)}</td><td>{escape(back)}</td></tr>"
                   for way, touch, back in page_paths.rows(figures))
    return f"""<section><h2>What memory costs, by the way it comes</h2><p>Microseconds per MiB, every page written to once. {escape(page_paths.note(figures))}</p>
<table class='figures narrow'><tr><th></th><th>mapping and first touch</th><th>giving back</th></tr>{body}</table></section>"""


def profile_section(profile):
    if not profile:
        return ""
    body = "".join(f"<tr><th>{escape(one['target'])}</th><td>{escape(one['measured'])}</td>"
                   f"<td class='{'ahead' if one['reached'] else 'behind'}'>{'reached' if one['reached'] else 'not reached'}</td></tr>"
                   for one in profile["targets"])
    return f"<section><h2>The seed report's targets</h2><p><code>make profile</code></p><table class='figures narrow'>{body}</table></section>"


def calls_section(profile):
    if not profile:
        return ""
    head, *rows = call_costs.rows(profile["call_costs"])
    top = "".join(f"<th>{escape(word)}</th>" for word in head)
    body = "".join(f"<tr><th>{escape(what)}</th>{''.join(f'<td>{escape(one)}</td>' for one in figures)}</tr>"
                   for what, *figures in rows)
    return f"""<section><h2>What a call costs</h2><p>Instructions in a steady state; <code>make profile</code></p>
<table class='figures narrow'><tr>{top}</tr>{body}</table></section>"""


def machine_section(results):
    machine = {**results["machine"], "rounds": results["rounds"], "run": "quick" if results["quick"] else "full",
               "duration": f"{results['seconds'] / 60:.1f} minutes",
               "daemon settings": ", ".join(f"{k}={v}" for k, v in results["daemon_settings"].items())}
    lines = "".join(f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(value)}</td></tr>" for key, value in machine.items())
    who = "".join(f"<tr><th>{escape(one['name'])}</th><td>{escape(one['about'])}{': ' + escape(one['problem']) if one['problem'] else ''}"
                  "</td></tr>" for one in results["allocators"])
    problems = digest.problems(results["rows"])
    bad = "".join(f"<li>{escape(line)}</li>" for line in problems)
    return f"""<section><h2>How it was measured</h2><p>Every row is run with every allocator in turn, round by round, and the rounds of a row are spread over
the whole run; shown are medians. Noisy rows get more rounds as time allows. Before each run a helper touches as much free memory as the run is going to need: on a
virtual machine whose host takes back free pages, the first to touch them would pay for all others (<em>first touch</em> below).
± is half the distance between the quartiles of the rounds. A row where that distance is above 5 % for any allocator says so. A run counts only if the
allocator that was asked for is seen to have served the program's blocks. hakmem's daemon is started once; its work between two
runs is waited for, and counted as <em>daemon CPU</em>. "Ahead" and "behind" mean by more than 2 % and more than the spread.</p>
{"<h3 id='failed'>Rows that failed</h3><ul>" + bad + "</ul>" if bad else ""}
<h3>Allocators</h3><table class="detail">{who}</table><h3>Machine</h3><table class="detail">{lines}</table></section>"""


def render(results, profile=None):
    rows = list(results["rows"].values())
    names = [one["name"] for one in results["allocators"]]
    with open(os.path.join(HERE, "page.css"), encoding="utf-8") as file:
        style = file.read()
    machine = results["machine"]
    why = document.reasons()
    n_failed = sum(one["status"] != "ok" for row in rows for one in row["cells"].values())
    warning = (f"<p class='warning'>{n_failed} of {sum(len(row['cells']) for row in rows)} cells have no figure: "
               "<a href='#failed'>which and why</a>.</p>") if n_failed else ""
    groups = digest.by_group(rows)
    means = [(title, digest.group_means(members, names)) for title, members in groups.items()]
    overview = charts.overview(means, names) if charts.available() else ""
    sections = "".join(group_section(title, members, names, why) for title, members in groups.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>hakmem beside its peers</title><style>{style}</style></head><body>
<header><h1>hakmem beside its peers</h1><p>{escape(machine['processor'])}, {machine['cores']} cores, {machine['memory_gib']} GiB,
{escape(machine['system'])}, Linux {escape(machine['kernel'])}; {escape(machine['hakmem'])}; rounds: {results['rounds']};
{'quick' if results['quick'] else 'full'} run{'' if not results.get('started') else ' of ' + escape(results['started'])}</p></header>
<main>{warning}<section class="first"><div class="overview">{legend(names)}{overview}</div><div class="cards">
{summary_cards(rows, "hakmem", "hakmem with its daemon")}{summary_cards(rows, "hakmem-alone", "hakmem alone, no daemon")}</div></section>
{sections}{curve_section(rows, names)}{memory_section(rows, names)}{paths_section(results.get("page_paths"))}{daemon_section(results.get("daemon"))}{profile_section(profile)}{calls_section(profile)}
{machine_section(results)}</main></body></html>
"""
