/*
 * Static probes (USDT) on the slow paths, for perf, bpftrace, SystemTap and gdb: provider "hakmem",
 * listed with their arguments in libhakmem(7). A probe is one no-op instruction and a note in the
 * file; without <sys/sdt.h> at build time there are none.
 */
#ifndef HAKMEM_LIBCLIENT_PROBE_H
#define HAKMEM_LIBCLIENT_PROBE_H

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define PROBE2(name, a, b)    DTRACE_PROBE2(hakmem, name, a, b)
#define PROBE3(name, a, b, c) DTRACE_PROBE3(hakmem, name, a, b, c)
#else
#define PROBE2(name, a, b)    ((void)(a), (void)(b))
#define PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif
