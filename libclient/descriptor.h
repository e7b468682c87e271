/*
 * A descriptor of the library's own in a program that knows nothing of it.
 *
 * It sits under a high number (glue_first_descriptor()), out of the way of programs that count on
 * low ones, and its identity is checked before each use, because programs close numbers that they
 * did not open and use them again (closefrom, daemonising). Once the number is somebody else's it
 * is forgotten, never written to and never closed.
 *
 * `n_syscalls` is where the caller counts what is called here.
 */
#ifndef HAKMEM_LIBCLIENT_DESCRIPTOR_H
#define HAKMEM_LIBCLIENT_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct descriptor {
    int fd; /* -1: none */
    dev_t dev;
    ino_t ino;
};

/*
 * Consumes `fd`. False: there is no number for it but one of the three standard ones, which are not
 * ours to sit on; it is closed then.
 */
bool descriptor_adopt(struct descriptor *descriptor, int fd, uint64_t *n_syscalls);

/* Is the number still what we opened? Also false where there is none. */
bool descriptor_is_ours(const struct descriptor *descriptor, uint64_t *n_syscalls);

/* Closes it if it is still ours, else only forgets it. False: it was somebody else's. */
bool descriptor_release(struct descriptor *descriptor, uint64_t *n_syscalls);

#endif
