/* Text in a buffer of the caller's, for messages that are written where malloc and stdio are out of
 * bounds. */
#ifndef HAKMEM_LIBCLIENT_TEXT_H
#define HAKMEM_LIBCLIENT_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* What does not fit is cut. */
struct text {
    char *bytes; /* borrowed */
    size_t capacity;
    size_t n_used;
};

void text_add(struct text *text, const char *string);
void text_add_number(struct text *text, uint64_t number);
void text_add_hex(struct text *text, uint64_t number);
/* One write(2); what comes of it is nobody's business at this point. */
void text_write(const struct text *text, int fd);

#endif
