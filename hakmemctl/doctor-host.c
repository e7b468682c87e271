/*
 * See doctor.h: the host. Each need of the daemon or the library is tried, where trying is
 * possible, rather than looked up.
 */
#include "hakmemctl/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/superslab.h"
#include "hakmemctl/locate.h"
#include "hakmemctl/output.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/* The kernel's default; below it, big heaps run out of mappings before they run out of memory. */
#define MAX_MAP_COUNT_DEFAULT 65530

static void check_huge_pages(struct doctor_report *report)
{
    static const char subject[] = "huge pages";
    static const char advise[] = "echo advise > " SHMEM_ENABLED;
    char line[128];
    int r = doctor_read_line(SHMEM_ENABLED, line, sizeof(line));
    if (r < 0) {
        doctor_add(
            report, DOCTOR_PROBLEM, subject,
            "a kernel with CONFIG_TRANSPARENT_HUGEPAGE; until then 4 KiB pages serve, slowly",
            "the kernel has no %s (%s)", SHMEM_ENABLED, strerror(-r));
        return;
    }
    if (strstr(line, "[advise]") || strstr(line, "[always]") || strstr(line, "[within_size]") ||
        strstr(line, "[force]"))
        doctor_add(report, DOCTOR_OK, subject, NULL, "shmem_enabled: %s", line);
    else if (strstr(line, "[deny]"))
        doctor_add(report, DOCTOR_PROBLEM, subject, advise,
                   "shmem_enabled is deny: shared memory gets 4 KiB pages only");
    else
        doctor_add(
            report, DOCTOR_WARNING, subject, advise,
            "shmem_enabled is never: the stock must be collapsed into 2 MiB pages, and memory "
            "that was reclaimed comes back in 4 KiB pages");
}

static void check_memfd(struct doctor_report *report)
{
    static const char subject[] = "memfd";
    int fd = memfd_create("hakmem-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        doctor_add(report, DOCTOR_PROBLEM, subject,
                   "allow memfd_create (a seccomp filter or a kernel without CONFIG_MEMFD_CREATE)",
                   "memfd_create: %s", strerror(errno));
        return;
    }
    if (ftruncate(fd, (off_t)SUPERSLAB_BYTES) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        doctor_add(report, DOCTOR_PROBLEM, subject, "a kernel that seals memfds (Linux 3.17)",
                   "a memfd cannot be sealed: %s", strerror(errno));
        close(fd);
        return;
    }
    close(fd);
    fd = memfd_create("hakmem-doctor", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    doctor_add(report, DOCTOR_OK, subject, NULL, "sealed memfds work, %s",
               fd < 0 ? "without the seal against execution (Linux 6.3)" : "never executable");
    if (fd >= 0)
        close(fd);
}

/* The proof of exclusive ownership, as the daemon does it before it uses memory again; see
 * docs/security.md. */
static int try_proof(void)
{
    char path[64];
    int original = memfd_create("hakmem-doctor", MFD_CLOEXEC);
    if (original < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", original);
    int counted = open(path, O_RDWR | O_CLOEXEC);
    int r = counted < 0 ? -errno : 0;
    close(original);
    if (r == 0 && fcntl(counted, F_SETLEASE, F_WRLCK) < 0)
        r = -errno;
    if (counted >= 0)
        close(counted);
    return r;
}

static void check_proof(struct doctor_report *report)
{
    static const char subject[] = "re-use";
    uint64_t enabled;
    int r = try_proof();
    if (r == 0)
        doctor_add(report, DOCTOR_OK, subject, NULL,
                   "the kernel proves that returned memory is held by nobody else");
    else if (doctor_read_number("/proc/sys/fs/leases-enable", &enabled) == 0 && enabled == 0)
        doctor_add(report, DOCTOR_PROBLEM, subject, "sysctl -w fs.leases-enable=1",
                   "fs.leases-enable is 0: no returned memory can be proved free, all becomes "
                   "orphans");
    else
        doctor_add(report, DOCTOR_PROBLEM, subject,
                   "mount /proc, and allow fcntl(F_SETLEASE) where a filter forbids it",
                   "exclusive ownership of a memfd cannot be proved: %s", strerror(-r));
}

static void check_mappings(struct doctor_report *report)
{
    static const char subject[] = "mappings";
    uint64_t value;
    if (doctor_read_number("/proc/sys/vm/max_map_count", &value) < 0)
        return;
    if (value < MAX_MAP_COUNT_DEFAULT)
        doctor_add(report, DOCTOR_WARNING, subject, "sysctl -w vm.max_map_count=65530",
                   "vm.max_map_count is %" PRIu64 ", below the kernel's default", value);
    else
        doctor_add(report, DOCTOR_OK, subject, NULL, "vm.max_map_count: %" PRIu64, value);
}

static void check_address_space(struct doctor_report *report)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    char size[OUTPUT_CELL_BYTES];
    doctor_add(report, DOCTOR_WARNING, "address space", "ulimit -v unlimited",
               "limited to %s here: the library's window shrinks to fit",
               output_size(limit.rlim_cur, size));
}

static void check_library(struct doctor_report *report)
{
    static const char subject[] = "library";
    char path[PATH_MAX];
    if (locate_library(path) < 0)
        doctor_add(report, DOCTOR_PROBLEM, subject, "make install, or name it in HAKMEM_LIBRARY",
                   "libhakmem.so is not found");
    else if (strpbrk(path, ": "))
        doctor_add(report, DOCTOR_PROBLEM, subject, "move it",
                   "%.200s cannot be preloaded: the path has a blank or a colon", path);
    else
        doctor_add(report, DOCTOR_OK, subject, NULL, "%.300s", path);
}

void doctor_check_host(struct doctor_report *report)
{
    check_huge_pages(report);
    check_memfd(report);
    check_proof(report);
    check_mappings(report);
    check_address_space(report);
    check_library(report);
}
