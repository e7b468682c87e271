/*
 * What `hakmemctl doctor` looks at, one function per subject; each adds a line of its findings to
 * the report: what was seen, how bad that is, and the cure.
 */
#ifndef HAKMEM_CTL_DOCTOR_H
#define HAKMEM_CTL_DOCTOR_H

#include <stddef.h>
#include <stdint.h>

#include "hakmemctl/command.h"
#include "proto/wire.h"

enum doctor_verdict { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_PROBLEM };

struct doctor_finding {
    enum doctor_verdict verdict;
    const char *subject; /* static */
    char seen[320];
    char cure[320]; /* a command where there is one; empty if none is needed */
};

#define DOCTOR_MAX_FINDINGS 64

struct doctor_report {
    struct doctor_finding findings[DOCTOR_MAX_FINDINGS];
    size_t n_findings;
};

/* Adds a finding; `cure` may be NULL. What does not fit is cut. */
void doctor_add(struct doctor_report *report, enum doctor_verdict verdict, const char *subject,
                const char *cure, const char *seen_format, ...)
    __attribute__((format(printf, 5, 6)));

/* One number from a file such as /proc/sys/...: 0, or a negative errno. "max" reads as UINT64_MAX.
 */
int doctor_read_number(const char *path, uint64_t *value);

/* First line of a file: 0, or a negative errno. */
int doctor_read_line(const char *path, char *line, size_t n_bytes);

/* Where the daemon, as it says, looks for /proc ("host.proc") or /sys; `usual` for one that does
 * not say. */
const char *doctor_root(const char *said, const char *usual);

/* The kernel and the installation: what can be seen without a daemon. */
void doctor_check_host(struct doctor_report *report);

/* The memory limit of the cgroup that the daemon is in, against what its stock may grow to. Looked
 * for where the daemon does: host.proc and host.sys. */
void doctor_check_cgroup(struct doctor_report *report, uint32_t daemon_pid,
                         const Hakmem__PoolReply *pool);

/* The daemon: reachable, answering, leasing, and what it counted. */
void doctor_check_daemon(struct doctor_report *report, const struct invocation *invocation);

#endif
