/* See doctor.h: the report itself, and reading the kernel's files. */
#include "hakmemctl/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void doctor_add(struct doctor_report *report, enum doctor_verdict verdict, const char *subject,
                const char *cure, const char *seen_format, ...)
{
    if (report->n_findings == DOCTOR_MAX_FINDINGS)
        return;
    struct doctor_finding *finding = &report->findings[report->n_findings++];
    finding->verdict = verdict;
    finding->subject = subject;
    snprintf(finding->cure, sizeof(finding->cure), "%s", cure ? cure : "");
    va_list arguments;
    va_start(arguments, seen_format);
    vsnprintf(finding->seen, sizeof(finding->seen), seen_format, arguments);
    va_end(arguments);
}

const char *doctor_root(const char *said, const char *usual)
{
    return said && said[0] ? said : usual;
}

int doctor_read_line(const char *path, char *line, size_t n_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, line, n_bytes - 1);
    int r = n < 0 ? -errno : 0;
    close(fd);
    if (r < 0)
        return r;
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return 0;
}

int doctor_read_number(const char *path, uint64_t *value)
{
    char line[64], *end;
    int r = doctor_read_line(path, line, sizeof(line));
    if (r < 0)
        return r;
    if (strcmp(line, "max") == 0) {
        *value = UINT64_MAX;
        return 0;
    }
    errno = 0;
    unsigned long long number = strtoull(line, &end, 10);
    if (errno || end == line || *end)
        return -EINVAL;
    *value = number;
    return 0;
}
