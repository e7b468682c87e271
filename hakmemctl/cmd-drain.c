/* hakmemctl drain [--resume]: stop leasing and prewarming and drop the stock, or begin again. */
#include <stdio.h>

#include "hakmemctl/ask.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"

int cmd_drain(const struct invocation *invocation)
{
    int code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    Hakmem__Drain drain = HAKMEM__DRAIN__INIT;
    drain.resume = invocation->resume;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_DRAIN;
    request.drain = &drain;
    Hakmem__Reply *reply;
    code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_DRAIN, &reply);
    if (code == CTL_OK && invocation->json) {
        code =
            output_json(json_pack("{s:b}", "draining", !invocation->resume)) ? CTL_OK : CTL_FAILED;
    } else if (code == CTL_OK) {
        puts(invocation->resume ? "leasing again"
                                : "draining: no new leases; `hakmemctl drain --resume` undoes it");
        code = output_flush() ? CTL_OK : CTL_FAILED;
    }
    session_close(session);
    return code;
}
