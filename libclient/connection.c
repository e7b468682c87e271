/* See connection.h. */
#include "libclient/connection.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "libclient/glue.h"
#include "libclient/tables.h"

#define NS_PER_S 1000000000ull

/* A program with fewer numbers than this is likely to need each of them: it gets none of ours. */
#define MIN_NUMBERS 64u

/* A packet, and behind it what it says, unpacked: of the usual ones all is in the first page. */
#define ARENA_BYTES ((size_t)CONN_REPLY_MAX_BYTES)
static TABLE_LARGE _Alignas(
    max_align_t) unsigned char reply_bytes[CONN_REPLY_MAX_BYTES + ARENA_BYTES];

bool connection_open(struct connection *connection, const char *path, uint64_t *n_syscalls)
{
    int fd;
    if (glue_descriptor_limit() < MIN_NUMBERS)
        return false;
    *n_syscalls += 2;
    if (conn_connect(path, &fd) < 0 || !descriptor_adopt(&connection->socket, fd, n_syscalls))
        return false;
    glue_populate_pages(reply_bytes, sizeof(max_align_t));
    connection->last_id = 0;
    connection->next_reply_id = 1;
    connection->is_new = true;
    return true;
}

bool connection_close(struct connection *connection, uint64_t *n_syscalls)
{
    return descriptor_release(&connection->socket, n_syscalls);
}

bool connection_send(struct connection *connection, Hakmem__ProgramRequest *request,
                     uint64_t *n_syscalls)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    size_t n_bytes;

    request->id = connection->last_id + 1;
    bool is_ours = connection->is_new || descriptor_is_ours(&connection->socket, n_syscalls);
    connection->is_new = false;
    if (!is_ours || wire_pack_program_request(request, packet, sizeof(packet), &n_bytes) < 0)
        return false;
    *n_syscalls += 1;
    if (conn_send(connection->socket.fd, packet, n_bytes, NULL, 0) < 0)
        return false;
    connection->last_id++;
    return true;
}

enum connection_receipt connection_receive(struct connection *connection,
                                           Hakmem__ProgramReply **reply, int fds[CONN_MAX_FDS],
                                           size_t *n_fds, uint64_t *n_syscalls)
{
    size_t n_bytes = 0;

    if (!descriptor_is_ours(&connection->socket, n_syscalls))
        return CONNECTION_CLOSED; /* by the program, unknowing */
    *n_syscalls += 1;
    int r =
        conn_recv(connection->socket.fd, reply_bytes, CONN_REPLY_MAX_BYTES, &n_bytes, fds, n_fds);
    if (r == -EAGAIN)
        return CONNECTION_NOTHING;
    if (r != 0)
        return r == CONN_CLOSED || r == -ECONNRESET || r == -EPIPE ? CONNECTION_CLOSED
                                                                   : CONNECTION_BROKEN;
    size_t n_before = (n_bytes + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    struct wire_arena arena = {.bytes = reply_bytes + n_before, .capacity = ARENA_BYTES};
    if (wire_unpack_program_reply(&arena, reply_bytes, n_bytes, reply) == 0 &&
        (*reply)->id == connection->next_reply_id && (*reply)->id <= connection->last_id) {
        connection->next_reply_id++;
        return CONNECTION_REPLY;
    }
    *n_syscalls += *n_fds;
    conn_close_fds(fds, *n_fds);
    return CONNECTION_BROKEN;
}

bool connection_wait(struct connection *connection, uint64_t deadline_ns, uint64_t *n_syscalls)
{
    uint64_t now = glue_now_ns();
    if (now >= deadline_ns)
        return false;
    uint64_t left = deadline_ns - now;
    struct timespec timeout = {.tv_sec = (time_t)(left / NS_PER_S),
                               .tv_nsec = (long)(left % NS_PER_S)};
    struct pollfd wanted = {.fd = connection->socket.fd, .events = POLLIN};
    *n_syscalls += 1;
    (void)ppoll(&wanted, 1, &timeout, NULL);
    return true;
}
