/* See log.h. */
#include "hakmemd/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "hakmemd/clock.h"

#define LOG_INTERVAL_MS 5000
#define LOG_LINE_BYTES  1024

static bool journal_in_use;
static enum log_level log_threshold = LOG_LEVEL_INFO;

static const char *const level_names[] = {"error", "warning", "info", "debug"};
/* syslog.h's LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG. */
static const int level_priorities[] = {3, 4, 6, 7};

void log_init(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;
    journal_in_use = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
                     fstat(STDERR_FILENO, &status) == 0 && status.st_dev == (dev_t)device &&
                     status.st_ino == (ino_t)inode;
}

void log_set_level(enum log_level level)
{
    log_threshold = level;
}

static size_t add_field(struct iovec *fields, size_t n, char *buffer, size_t capacity,
                        const char *format, unsigned long long value)
{
    int length = snprintf(buffer, capacity, format, value);
    fields[n] = (struct iovec){.iov_base = buffer, .iov_len = (size_t)length};
    return n + 1;
}

static void send_to_journal(enum log_level level, const struct log_subject *subject,
                            const char *text)
{
    char message[LOG_LINE_BYTES + 16], priority[16], pid[40], uid[40], extent[48], error[24];
    struct iovec fields[6];
    size_t n = 0;
    int length = snprintf(message, sizeof(message), "MESSAGE=%s", text);
    fields[n++] = (struct iovec){.iov_base = message, .iov_len = (size_t)length};
    n = add_field(fields, n, priority, sizeof(priority), "PRIORITY=%llu",
                  (unsigned long long)level_priorities[level]);
    if (subject && subject->pid) {
        n = add_field(fields, n, pid, sizeof(pid), "HAKMEM_PID=%llu",
                      (unsigned long long)subject->pid);
        n = add_field(fields, n, uid, sizeof(uid), "HAKMEM_UID=%llu", subject->uid);
    }
    if (subject && subject->extent)
        n = add_field(fields, n, extent, sizeof(extent), "HAKMEM_EXTENT=%llu",
                      (unsigned long long)subject->extent);
    if (subject && subject->error)
        n = add_field(fields, n, error, sizeof(error), "ERRNO=%llu",
                      (unsigned long long)subject->error);
    sd_journal_sendv(fields, (int)n);
}

static void print_to_stderr(enum log_level level, const struct log_subject *subject,
                            const char *text)
{
    char about[128] = "";
    size_t n = 0;
    if (subject && subject->pid)
        n += (size_t)snprintf(about + n, sizeof(about) - n, " pid=%d uid=%u", (int)subject->pid,
                              (unsigned)subject->uid);
    if (subject && subject->extent)
        snprintf(about + n, sizeof(about) - n, " extent=%llu", (unsigned long long)subject->extent);
    fprintf(stderr, "hakmemd: %s: %s%s\n", level_names[level], text, about);
}

void log_line(enum log_level level, const struct log_subject *subject, const char *format, ...)
{
    if (level > log_threshold)
        return;
    char text[LOG_LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (subject && subject->error && n > 0 && (size_t)n < sizeof(text))
        snprintf(text + n, sizeof(text) - (size_t)n, ": %s", strerror(subject->error));
    if (journal_in_use)
        send_to_journal(level, subject, text);
    else
        print_to_stderr(level, subject, text);
}

bool log_limit_pass(struct log_limit *limit, uint64_t *n_suppressed_out)
{
    uint64_t now_ms = clock_now_ms();
    if (now_ms < limit->next_ms) {
        limit->n_suppressed++;
        return false;
    }
    *n_suppressed_out = limit->n_suppressed;
    limit->n_suppressed = 0;
    limit->next_ms = now_ms + LOG_INTERVAL_MS;
    return true;
}
