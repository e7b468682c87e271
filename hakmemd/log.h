/*
 * The daemon's log: structured fields to the journal where stderr is the journal, lines to stderr
 * elsewhere.
 *
 * A module logs or returns an error, never both. Loop thread only: workers return errors. What a
 * peer can cause as often as it likes passes a log_limit first.
 */
#ifndef HAKMEMD_LOG_H
#define HAKMEMD_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Whom and what a line is about; zero fields are left out. `error` is a positive errno. */
struct log_subject {
    pid_t pid;
    uid_t uid; /* meaningful only with a pid */
    uint64_t extent;
    int error;
};

/* Looks whether stderr is the journal. Called once. */
void log_init(void);
void log_set_level(enum log_level level);

void log_line(enum log_level level, const struct log_subject *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* One line per interval. `n_suppressed` counts those held back since; embedded, zero to begin with.
 */
struct log_limit {
    uint64_t next_ms;
    uint64_t n_suppressed;
};

/* May a line be written now? If so, *n_suppressed_out says how many were held back since the last.
 */
bool log_limit_pass(struct log_limit *limit, uint64_t *n_suppressed_out);

#endif
