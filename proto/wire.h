/*
 * Requests and replies to and from bytes, in memory of the caller's: neither packing nor unpacking
 * allocates. The message types are generated from hakmem.proto by protoc-c.
 */
#ifndef HAKMEM_PROTO_WIRE_H
#define HAKMEM_PROTO_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "hakmem.pb-c.h"

#define WIRE_VERSION_MIN 1u
#define WIRE_VERSION_MAX 1u

/* Bits of Hello.features and HelloReply.features. */
#define WIRE_FEATURE_REATTACH UINT64_C(1)
#define WIRE_TOKEN_BYTES      16u /* of a reattach_token */

/*
 * Memory that unpacked messages live in: bumped up, and dropped all at once by the next unpack.
 * Embedded in its owner; `bytes` is borrowed. A message that does not fit is refused.
 */
struct wire_arena {
    unsigned char *bytes;
    size_t capacity;
    size_t n_used;
};

/* 0 and the packed length, or -EMSGSIZE if it does not fit. */
int wire_pack_request(const Hakmem__Request *request, void *packet, size_t capacity,
                      size_t *n_bytes);
int wire_pack_program_request(const Hakmem__ProgramRequest *request, void *packet, size_t capacity,
                              size_t *n_bytes);
int wire_pack_reply(const Hakmem__Reply *reply, void *packet, size_t capacity, size_t *n_bytes);

/*
 * Unpacks into the arena, whose earlier contents are lost. The message is valid until the arena's
 * next use and is never freed. -EBADMSG if the bytes are no such message or the arena is too small
 * for it; nothing is left behind.
 */
int wire_unpack_request(struct wire_arena *arena, const void *packet, size_t n_bytes,
                        Hakmem__Request **request);
int wire_unpack_reply(struct wire_arena *arena, const void *packet, size_t n_bytes,
                      Hakmem__Reply **reply);
int wire_unpack_program_reply(struct wire_arena *arena, const void *packet, size_t n_bytes,
                              Hakmem__ProgramReply **reply);

#endif
