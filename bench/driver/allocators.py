"""The allocators that are compared: how each is put under a program, and how to tell that it did serve it."""

import os
from dataclasses import dataclass, field

DEBIAN = (("mimalloc", "libmimalloc.so.2"), ("jemalloc", "libjemalloc.so.2"), ("tcmalloc", "libtcmalloc_minimal.so.4"))
FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
# Whatever the caller's shell has set of these is not to be in the measured programs.
FOREIGN_SETTINGS = ("LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_", "MIMALLOC_", "JE_MALLOC", "TCMALLOC_", "HAKMEM_")


@dataclass(frozen=True)
class Allocator:
    name: str
    about: str
    library: str | None  # the file to preload; None: the C library's own
    environment: dict = field(default_factory=dict)
    is_hakmem: bool = False
    with_daemon: bool = False
    problem: str | None = None  # why it cannot be run

    def settings(self, foreign, extra_library=None):
        """NAME=VALUE settings for a run. A foreign program may bring an allocator of its own (redis-server is linked
        with jemalloc): for the C library's row its file is preloaded too, so that its malloc comes first."""
        preload = [self.library] if self.library else [libc_file()] if foreign else []
        preload = ([extra_library] if extra_library else []) + preload
        settings = dict(self.environment)
        if preload:
            settings["LD_PRELOAD"] = " ".join(preload)
        return settings

    def file(self):
        return os.path.realpath(self.library or libc_file())


def libc_file():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].strip()
            if os.path.basename(path).startswith("libc.so") or os.path.basename(path).startswith("libc-2"):
                return path
    raise RuntimeError("this interpreter is not linked with a C library that can be found")


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_SETTINGS)}


def find_library(name):
    for folder in FOLDERS:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    return None


def peer_from_file(name, path):
    problem = None if os.path.exists(path) else f"no such file: {path}"
    return Allocator(name, os.path.realpath(path), os.path.abspath(path), problem=problem)


def known_peers():
    yield Allocator("glibc", "the C library's malloc", None)
    yield Allocator("glibc-thp", "the same with GLIBC_TUNABLES=glibc.malloc.hugetlb=1 (huge pages by madvise)", None,
                    {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})
    for name, file in DEBIAN:
        path = find_library(file)
        yield Allocator(name, os.path.realpath(path) if path else file, path,
                        problem=None if path else f"{file} is not installed (make deps-bench)")


def hakmem_rows(build, socket, daemon_problem):
    library = os.path.abspath(os.path.join(build, "libhakmem.so"))
    missing = None if os.path.exists(library) else f"no such file: {library}"
    yield Allocator("hakmem", "libhakmem with its daemon", library, {"HAKMEM_SOCKET": socket or "/nonexistent"},
                    True, True, missing or daemon_problem)
    yield Allocator("hakmem-alone", "libhakmem on private memory, HAKMEM_CONNECT=off", library,
                    {"HAKMEM_CONNECT": "off"}, True, False, missing)


def choose(wanted, build, socket, daemon_problem):
    """`wanted`: words separated by blanks or commas. A bare name limits the run to the names given; name=file adds a
    peer. glibc is always there: it is what the others are related to."""
    words = wanted.replace(",", " ").split()
    names = [word for word in words if "=" not in word]
    allocators = list(known_peers())
    allocators += [peer_from_file(*word.split("=", 1)) for word in words if "=" in word]
    allocators += list(hakmem_rows(build, socket, daemon_problem))
    known = {allocator.name for allocator in allocators}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no such allocator: {', '.join(unknown)} (known: {', '.join(sorted(known))})")
    if not names:
        return allocators
    keep = set(names) | {"glibc"} | {word.split("=", 1)[0] for word in words if "=" in word}
    return [allocator for allocator in allocators if allocator.name in keep]


def wants_daemon(wanted):
    names = [word for word in wanted.replace(",", " ").split() if "=" not in word]
    return not names or "hakmem" in names
