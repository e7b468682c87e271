/*
 * How hakmemctl writes: sizes for people, JSON for programs, foreign text made harmless.
 */
#ifndef HAKMEM_CTL_OUTPUT_H
#define HAKMEM_CTL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>

/* Enough for every number and size that is formatted here. */
#define OUTPUT_CELL_BYTES 32

/* "0", "512 B", "64.0 KiB", "1.50 GiB": at most 9 columns. Returns `text`. */
const char *output_size(uint64_t n_bytes, char text[OUTPUT_CELL_BYTES]);

/* "12 s", "3 min 20 s", "5 h 12 min", "17 d 3 h". */
const char *output_duration(uint64_t seconds, char text[OUTPUT_CELL_BYTES]);

/* part of whole in percent; "-" of nothing. */
const char *output_share(uint64_t part, uint64_t whole, char text[OUTPUT_CELL_BYTES]);

/* A plain count. */
const char *output_count(uint64_t n, char text[OUTPUT_CELL_BYTES]);

/*
 * Copies text that another process chose (a program's name), with everything but printable ASCII
 * replaced by '?', so that it cannot steer the terminal. NULL reads as "".
 */
void output_clean(const char *text, char *clean, size_t n_bytes);

/*
 * Parses "4096", "64K", "1.5G", "2GiB" (binary multiples). 0, or -EINVAL, or -ERANGE beyond 64
 * bits.
 */
int output_parse_size(const char *text, uint64_t *n_bytes);

/*
 * The message as a JSON object whose keys are the names of proto/hakmem.proto, so that a field
 * added there appears here by itself. A new reference, or NULL out of memory.
 */
json_t *output_message_json(const ProtobufCMessage *message);

/* Prints the object (consumed) and a newline on stdout. False if it is NULL or stdout fails. */
bool output_json(json_t *object);

/* False if what was written to stdout did not all arrive. */
bool output_flush(void);

#endif
