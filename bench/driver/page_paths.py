"""What it costs a program to get memory and to give it back, by the way in which it gets it: bench/page_paths.c."""

from table import short

# (the way, its name in the program's report)
PATHS = (
    ("anonymous mmap, 4 KiB faults (glibc's way)", "anon_4k"),
    ("anonymous mmap with `MADV_HUGEPAGE`", "anon_2m"),
    ("a memfd prewarmed with 4 KiB pages", "memfd_4k"),
    ("the same, `MAP_POPULATE`", "memfd_4k_populate"),
    ("a memfd prewarmed with 2 MiB pages: what hakmem leases", "memfd_2m"),
)


def arguments(quick):
    return ("32M", 5 if quick else 21)


def rows(figures):
    """(the way, first touch, giving back) of each, as text; µs per MiB."""
    def shown(key):
        return short(figures[key]) if key in figures else figures.get("error", "-")
    for title, name in PATHS:
        yield title, shown(f"{name}_touch_us"), shown(f"{name}_back_us")


def note(figures):
    share = figures.get("memfd_2m_share")
    return "" if share is None or share > 0.99 else f"Only {share:.0%} of the last memfd was in 2 MiB pages."
