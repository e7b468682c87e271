/* See text.h. */
#include "libclient/text.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

void text_add(struct text *text, const char *string)
{
    while (*string && text->n_used < text->capacity)
        text->bytes[text->n_used++] = *string++;
}

static void add_digits(struct text *text, uint64_t number, unsigned base)
{
    char digits[24];
    size_t n = sizeof(digits);
    digits[--n] = '\0';
    do {
        digits[--n] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    text_add(text, digits + n);
}

void text_add_number(struct text *text, uint64_t number)
{
    add_digits(text, number, 10);
}

void text_add_hex(struct text *text, uint64_t number)
{
    text_add(text, "0x");
    add_digits(text, number, 16);
}

void text_write(const struct text *text, int fd)
{
    int saved_errno = errno;
    /* Not write(): a thread that is to be cancelled must not end before it has said why it aborts.
     */
    long ignored = syscall(SYS_write, fd, text->bytes, text->n_used);
    (void)ignored;
    errno = saved_errno;
}
