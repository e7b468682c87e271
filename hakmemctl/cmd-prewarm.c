/* hakmemctl prewarm SIZE: have that much ready before it is asked for. */
#include <errno.h>
#include <stdio.h>

#include "hakmemctl/ask.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"

int cmd_prewarm(const struct invocation *invocation)
{
    Hakmem__Prewarm prewarm = HAKMEM__PREWARM__INIT;
    int r = output_parse_size(invocation->arguments[0], &prewarm.bytes);
    if (r < 0) {
        fprintf(stderr, "hakmemctl: prewarm: %s: %s\n",
                r == -ERANGE ? "too large" : "not a size (as in 512M)", invocation->arguments[0]);
        return CTL_USAGE;
    }
    int code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_PREWARM;
    request.prewarm = &prewarm;
    Hakmem__Reply *reply;
    code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_PREWARM, &reply);
    if (code == CTL_OK && invocation->json) {
        code = output_json(output_message_json(&reply->prewarm->base)) ? CTL_OK : CTL_FAILED;
    } else if (code == CTL_OK) {
        char size[OUTPUT_CELL_BYTES];
        printf("stock target is now %s\n", output_size(reply->prewarm->target_bytes, size));
        code = output_flush() ? CTL_OK : CTL_FAILED;
    }
    session_close(session);
    return code;
}
