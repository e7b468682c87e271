"""docs/benchmarks.md from a run's results: benchmarks.md.in with its {{places}} filled, and why.md for the rows behind."""

import os
import re

import call_costs
import daemon_figures
import digest
import page_paths
from table import human, short
from workloads import all_workloads

NOT_EXPLAINED = "Not yet explained."
HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def reasons():
    """why.md: {row name: prose}. A section is headed `## row [row ...]`. What is shown of it is up to the run: rows behind."""
    found = {}
    for part in re.split(r"^## ", read("why.md"), flags=re.M)[1:]:
        head, _, prose = part.partition("\n")
        for name in head.split():
            found[name] = prose.strip()
    return found


def reason(row, name, why):
    """Why hakmem's row `name` is behind in this row."""
    return why.get(f"{row['name']}/{name}") or why.get(row["name"], NOT_EXPLAINED)


def unknown_reasons():
    """Heads in why.md that name no row: left over from one that was renamed."""
    known = {figure.row for workload in all_workloads() for figure in workload.figures}
    return [name for name in reasons() if name.removesuffix("/hakmem-alone").removesuffix("/hakmem") not in known]


def summary(rows):
    lines = []
    for name, title in (("hakmem", "With its daemon"), ("hakmem-alone", "Alone, without a daemon")):
        count = digest.verdicts(rows, name)
        total = sum(map(len, count.values()))
        if not total:
            lines.append(f"{title}: not measured in this run.\n")
            continue
        ahead = sorted(count["ahead"], key=lambda row: -row["cells"][name]["to_best"])[:6]
        lines.append(f"**{title}**, of {total} rows, each against the best of the other allocators in that row: ahead in "
                     f"**{len(count['ahead'])}**, level in {len(count['even'])}, behind in {len(count['behind'])}. Geometric "
                     f"mean of all rows: {digest.mean_ratio(rows, name):.2f} times glibc.\n")
        if ahead:
            lines.append("Furthest ahead: " + "; ".join(
                f"{row['title']} ({row['cells'][name]['to_best']:.2f} times {row['best_peer']})" for row in ahead) + ".\n")
    return "\n".join(lines)


def group_table(rows, names):
    lines = ["| row | glibc | " + " | ".join(n for n in names if n != "glibc") + " | best peer | target |",
             "|---|" + "---|" * (len(names) + 2)]
    for row in rows:
        base = row["cells"].get("glibc", {})
        absolute = human(base['median'], row['unit']) if base.get("status") == "ok" else "-"
        cells = []
        for name in names:
            if name == "glibc":
                continue
            one = row["cells"].get(name)
            if not one:
                cells.append("-")
            elif one["status"] != "ok":
                cells.append(one["status"])
            else:
                text = f"{one['ratio']:.2f}" if one.get("ratio") else "-"
                cells.append(f"**{text}**" if one.get("verdict") == "ahead" else text)
        noisy = " (noisy)" if row.get("noisy") else ""
        lines.append(f"| {row['title']}{noisy} | {absolute} | {' | '.join(cells)} | {row.get('best_peer', '-')} | "
                     f"{'%g' % row['ask'] if row.get('ask') else ''} |")
    return "\n".join(lines)


def tables(rows, names):
    return "\n\n".join(f"### {title}\n\n{group_table(members, names)}" for title, members in digest.by_group(rows).items())


def losses(rows, why):
    parts = []
    for name, title in (("hakmem", "With the daemon"), ("hakmem-alone", "Alone")):
        behind = sorted(digest.verdicts(rows, name)["behind"], key=lambda row: row["cells"][name]["to_best"])
        parts.append(f"### {title}\n")
        if not behind:
            parts.append("None in this run.\n")
        for row in behind:
            own = row["cells"][name]
            noisy = f" The row is noisy: spread up to {digest.worst_spread(row):.0f} %." if row["noisy"] else ""
            prose = reason(row, name, why)
            parts.append(f"- **{row['title']}** (`{row['name']}`): {own['to_best']:.2f} times {row['best_peer']}, "
                         f"{own['ratio']:.2f} times glibc.{noisy} {prose}\n")
    return "\n".join(parts)


def missed_targets(rows, why):
    missed = [row for row in rows if row["cells"].get("hakmem", {}).get("ask_reached") is False]
    if not missed:
        return "Every row that has a target reached it in this run."
    return "\n\n".join(f"- **{row['title']}** (`{row['name']}`): {row['cells']['hakmem']['ratio']:.2f} of {row['ask']:g}. "
                       f"{reason(row, 'hakmem', why)}" for row in missed)


def daemon_table(figures):
    if not figures:
        return "Not measured in this run."
    lines = ["| figure | value | |", "|---|---|---|"]
    for label, value, unit, note in daemon_figures.lines(figures):
        lines.append(f"| {label} | {'-' if value is None else short(value)} {unit} | {note} |")
    return "\n".join(lines)


def paths_table(figures):
    if not figures:
        return "Not measured in this run."
    lines = ["| memory reaches a program by | mapping and first touch | giving back |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in page_paths.rows(figures)]
    return "\n".join(lines + ["", page_paths.note(figures)]).rstrip()


def profile_table(profile):
    if not profile:
        return "Not measured in this run (`make profile`)."
    lines = ["| target | measured | |", "|---|---|---|"]
    lines += [f"| {one['target']} | {one['measured']} | {'reached' if one['reached'] else '**not reached**'} |"
              for one in profile["targets"]]
    return "\n".join(lines)


def call_costs_table(profile):
    if not profile:
        return "Not measured in this run (`make profile`)."
    head, *body = call_costs.rows(profile["call_costs"])
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def machine_list(results):
    lines = [f"- {key.replace('_', ' ')}: {value}" for key, value in results["machine"].items() if key != "load_before"]
    lines.append(f"- {'quick' if results['quick'] else 'full'} run, rounds: {results['rounds']}, "
                 f"{results['seconds'] / 60:.0f} minutes")
    lines.append("- daemon: " + ", ".join(f"{k}={v}" for k, v in results["daemon_settings"].items()) + ", all else default")
    lines += [f"- {one['name']}: {one['about']}" for one in results["allocators"]]
    return "\n".join(lines)


def commands(rows):
    seen = {}
    for row in rows:
        seen.setdefault(row["command"], []).append(row["name"])
    return "\n".join(f"| `{', '.join(names)}` | `{command}` |" for command, names in seen.items())


def render(results, profile):
    rows = list(results["rows"].values())
    names = [one["name"] for one in results["allocators"]]
    places = {"summary": summary(rows), "tables": tables(rows, names), "losses": losses(rows, reasons()),
              "missed": missed_targets(rows, reasons()), "daemon": daemon_table(results.get("daemon")),
              "paths": paths_table(results.get("page_paths")),
              "profile": profile_table(profile), "calls": call_costs_table(profile), "machine": machine_list(results), "commands": commands(rows),
              "problems": "\n".join(f"- {line}" for line in digest.problems(results["rows"])) or "None."}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: places[match[1]], read("benchmarks.md.in"))
