/*
 * The wire: what a program says is what the daemon reads, and the other way round, though each end
 * has an envelope of its own for it; what does not fit or is no message is refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire.h"

static _Alignas(max_align_t) unsigned char arena_bytes[4096];

static struct wire_arena new_arena(void)
{
    return (struct wire_arena){.bytes = arena_bytes, .capacity = sizeof(arena_bytes)};
}

static const ProtobufCFieldDescriptor *field_by_name(const ProtobufCMessageDescriptor *message,
                                                     const char *name)
{
    for (unsigned i = 0; i < message->n_fields; i++) {
        if (strcmp(message->fields[i].name, name) == 0)
            return &message->fields[i];
    }
    return NULL;
}

/* Each field of `part` is in `whole`: same name, number, type and message. */
static void require_part(const ProtobufCMessageDescriptor *part,
                         const ProtobufCMessageDescriptor *whole)
{
    for (unsigned i = 0; i < part->n_fields; i++) {
        const ProtobufCFieldDescriptor *mine = &part->fields[i];
        const ProtobufCFieldDescriptor *theirs = field_by_name(whole, mine->name);
        assert_non_null(theirs);
        assert_int_equal(mine->id, theirs->id);
        assert_int_equal(mine->type, theirs->type);
        assert_int_equal(mine->label, theirs->label);
        assert_ptr_equal(mine->descriptor, theirs->descriptor);
    }
}

static void a_programs_envelopes_are_part_of_the_whole(void **state)
{
    (void)state;
    require_part(&hakmem__program_request__descriptor, &hakmem__request__descriptor);
    require_part(&hakmem__program_reply__descriptor, &hakmem__reply__descriptor);
}

static void a_program_is_understood(void **state)
{
    (void)state;
    unsigned char packet[256];
    size_t n_bytes;
    struct wire_arena arena = new_arena();
    Hakmem__Lease lease = HAKMEM__LEASE__INIT;
    Hakmem__ProgramRequest said = HAKMEM__PROGRAM_REQUEST__INIT;
    Hakmem__Request *heard;
    lease.n_slabs = 7;
    lease.run_slabs = 4;
    said.id = 12;
    said.body_case = HAKMEM__PROGRAM_REQUEST__BODY_LEASE;
    said.lease = &lease;
    assert_int_equal(wire_pack_program_request(&said, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(wire_unpack_request(&arena, packet, n_bytes, &heard), 0);
    assert_int_equal(heard->id, 12);
    assert_int_equal(heard->body_case, HAKMEM__REQUEST__BODY_LEASE);
    assert_int_equal(heard->lease->n_slabs, 7);
    assert_int_equal(heard->lease->run_slabs, 4);
}

static void a_program_understands(void **state)
{
    (void)state;
    unsigned char packet[256];
    size_t n_bytes;
    struct wire_arena arena = new_arena();
    Hakmem__Error error = HAKMEM__ERROR__INIT;
    Hakmem__PingReply ping = HAKMEM__PING_REPLY__INIT;
    Hakmem__Reply said = HAKMEM__REPLY__INIT;
    Hakmem__ProgramReply *heard;
    error.code = HAKMEM__ERROR_CODE__ERROR_QUOTA;
    error.limit = "quota.bytes_per_user";
    said.id = 12;
    said.body_case = HAKMEM__REPLY__BODY_ERROR;
    said.error = &error;
    assert_int_equal(wire_pack_reply(&said, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(wire_unpack_program_reply(&arena, packet, n_bytes, &heard), 0);
    assert_int_equal(heard->id, 12);
    assert_int_equal(heard->body_case, HAKMEM__PROGRAM_REPLY__BODY_ERROR);
    assert_int_equal(heard->error->code, HAKMEM__ERROR_CODE__ERROR_QUOTA);
    assert_string_equal(heard->error->limit, "quota.bytes_per_user");

    /* What is not for programs is an answer without a body. */
    said.body_case = HAKMEM__REPLY__BODY_PING;
    said.ping = &ping;
    assert_int_equal(wire_pack_reply(&said, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(wire_unpack_program_reply(&arena, packet, n_bytes, &heard), 0);
    assert_int_equal(heard->body_case, HAKMEM__PROGRAM_REPLY__BODY__NOT_SET);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const unsigned char no_message[] = {0xff, 0xff, 0xff};
    unsigned char packet[256];
    size_t n_bytes = 99;
    struct wire_arena arena = new_arena(), small = {.bytes = arena_bytes, .capacity = 16};
    Hakmem__ProgramReply *reply = NULL;
    Hakmem__Lease lease = HAKMEM__LEASE__INIT;
    Hakmem__ProgramRequest request = HAKMEM__PROGRAM_REQUEST__INIT;
    lease.n_slabs = 1;
    request.id = 1;
    request.body_case = HAKMEM__PROGRAM_REQUEST__BODY_LEASE;
    request.lease = &lease;
    assert_int_equal(wire_pack_program_request(&request, packet, 3, &n_bytes), -EMSGSIZE);
    assert_int_equal(n_bytes, 99);
    assert_int_equal(wire_unpack_program_reply(&arena, no_message, sizeof(no_message), &reply),
                     -EBADMSG);
    assert_int_equal(wire_pack_program_request(&request, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(wire_unpack_program_reply(&small, packet, n_bytes, &reply), -EBADMSG);
    assert_null(reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_programs_envelopes_are_part_of_the_whole),
        cmocka_unit_test(a_program_is_understood),
        cmocka_unit_test(a_program_understands),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
