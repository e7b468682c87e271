/*
 * A command's question to the daemon, with everything that can go wrong said on stderr and turned
 * into an exit code.
 */
#ifndef HAKMEM_CTL_ASK_H
#define HAKMEM_CTL_ASK_H

#include "hakmemctl/command.h"
#include "hakmemctl/session.h"

/* An open session, or NULL after a message; *code then is the exit code. */
struct session *ask_open(const struct invocation *invocation, int *code);

/*
 * CTL_OK and a reply of the kind wanted, valid until the session's next use. Otherwise an exit
 * code, and the message has been printed.
 */
int ask(const struct invocation *invocation, struct session *session, Hakmem__Request *request,
        Hakmem__Reply__BodyCase wanted, Hakmem__Reply **reply_out);

/* What a failed session_open() means: an exit code and, in `reason`, a sentence without the cure.
 */
int ask_open_failure(int error, const char *path, char *reason, size_t n_bytes);

#endif
