/* See ask.h. */
#include "hakmemctl/ask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hakmemctl/output.h"

int ask_open_failure(int error, const char *path, char *reason, size_t n_bytes)
{
    switch (error) {
    case -ENOENT:
        snprintf(reason, n_bytes, "hakmemd is not running: there is no socket %s", path);
        return CTL_NOT_RUNNING;
    case -ECONNREFUSED:
        snprintf(reason, n_bytes, "hakmemd is not running: nobody listens on %s", path);
        return CTL_NOT_RUNNING;
    case -EACCES:
    case -EPERM:
        snprintf(reason, n_bytes, "no permission to connect to %s", path);
        return CTL_DENIED;
    case -EPROTOTYPE:
        snprintf(reason, n_bytes, "%s is a socket of another kind, not hakmemd's", path);
        return CTL_FAILED;
    default:
        snprintf(reason, n_bytes, "cannot connect to %s: %s", path, strerror(-error));
        return CTL_FAILED;
    }
}

struct session *ask_open(const struct invocation *invocation, int *code)
{
    struct session *session = NULL;
    int r = session_open(invocation->socket_path, &session);
    if (r == 0)
        return session;
    char reason[512];
    *code = ask_open_failure(r, invocation->socket_path, reason, sizeof(reason));
    fprintf(stderr, "hakmemctl: %s\n", reason);
    return NULL;
}

static int refused(const Hakmem__Error *error)
{
    char message[256];
    output_clean(error->message, message, sizeof(message));
    if (error->code == HAKMEM__ERROR_CODE__ERROR_NOT_PERMITTED) {
        fprintf(stderr, "hakmemctl: denied: %s\n",
                message[0] ? message : "this needs root or the daemon's own user");
        return CTL_DENIED;
    }
    fprintf(stderr, "hakmemctl: hakmemd refused: %s", message[0] ? message : "no reason given");
    if (error->limit && error->limit[0]) {
        output_clean(error->limit, message, sizeof(message));
        fprintf(stderr, " (%s)", message);
    }
    fputc('\n', stderr);
    return CTL_FAILED;
}

int ask(const struct invocation *invocation, struct session *session, Hakmem__Request *request,
        Hakmem__Reply__BodyCase wanted, Hakmem__Reply **reply_out)
{
    Hakmem__Reply *reply;
    int r = session_ask(session, request, &reply);
    if (r == -ETIMEDOUT) {
        fprintf(stderr, "hakmemctl: hakmemd on %s did not answer within %d s\n",
                invocation->socket_path, SESSION_TIMEOUT_MS / 1000);
        return CTL_FAILED;
    }
    if (r == -ECONNRESET) {
        fprintf(stderr, "hakmemctl: hakmemd on %s closed the connection\n",
                invocation->socket_path);
        return CTL_FAILED;
    }
    if (r < 0) {
        fprintf(stderr, "hakmemctl: %s: %s\n", invocation->socket_path, strerror(-r));
        return CTL_FAILED;
    }
    if (reply->body_case == HAKMEM__REPLY__BODY_ERROR)
        return refused(reply->error);
    if (reply->body_case != wanted) {
        fprintf(stderr, "hakmemctl: %s: a reply to another question\n", invocation->socket_path);
        return CTL_FAILED;
    }
    *reply_out = reply;
    return CTL_OK;
}
