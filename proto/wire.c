/* See wire.h. protobuf-c's allocator hooks point at the caller's arena; free does nothing. */
#include "proto/wire.h"

#include <errno.h>

static void *arena_allocate(void *data, size_t n_bytes)
{
    struct wire_arena *arena = data;
    const size_t align = _Alignof(max_align_t);
    size_t at = (arena->n_used + align - 1) & ~(align - 1);
    if (at > arena->capacity || n_bytes > arena->capacity - at)
        return NULL;
    arena->n_used = at + n_bytes;
    return arena->bytes + at;
}

static void arena_release(void *data, void *memory)
{
    (void)data;
    (void)memory;
}

static int pack(const ProtobufCMessage *message, void *packet, size_t capacity, size_t *n_bytes)
{
    if (protobuf_c_message_get_packed_size(message) > capacity)
        return -EMSGSIZE;
    *n_bytes = protobuf_c_message_pack(message, packet);
    return 0;
}

int wire_pack_request(const Hakmem__Request *request, void *packet, size_t capacity,
                      size_t *n_bytes)
{
    return pack(&request->base, packet, capacity, n_bytes);
}

int wire_pack_program_request(const Hakmem__ProgramRequest *request, void *packet, size_t capacity,
                              size_t *n_bytes)
{
    return pack(&request->base, packet, capacity, n_bytes);
}

int wire_pack_reply(const Hakmem__Reply *reply, void *packet, size_t capacity, size_t *n_bytes)
{
    return pack(&reply->base, packet, capacity, n_bytes);
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *descriptor,
                                struct wire_arena *arena, const void *packet, size_t n_bytes)
{
    ProtobufCAllocator allocator = {
        .alloc = arena_allocate, .free = arena_release, .allocator_data = arena};
    arena->n_used = 0;
    return protobuf_c_message_unpack(descriptor, &allocator, n_bytes, packet);
}

int wire_unpack_request(struct wire_arena *arena, const void *packet, size_t n_bytes,
                        Hakmem__Request **request)
{
    ProtobufCMessage *message = unpack(&hakmem__request__descriptor, arena, packet, n_bytes);
    if (!message)
        return -EBADMSG;
    *request = (Hakmem__Request *)message;
    return 0;
}

int wire_unpack_reply(struct wire_arena *arena, const void *packet, size_t n_bytes,
                      Hakmem__Reply **reply)
{
    ProtobufCMessage *message = unpack(&hakmem__reply__descriptor, arena, packet, n_bytes);
    if (!message)
        return -EBADMSG;
    *reply = (Hakmem__Reply *)message;
    return 0;
}

int wire_unpack_program_reply(struct wire_arena *arena, const void *packet, size_t n_bytes,
                              Hakmem__ProgramReply **reply)
{
    ProtobufCMessage *message = unpack(&hakmem__program_reply__descriptor, arena, packet, n_bytes);
    if (!message)
        return -EBADMSG;
    *reply = (Hakmem__ProgramReply *)message;
    return 0;
}
