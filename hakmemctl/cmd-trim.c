/* hakmemctl trim: give back now what pressure would take back: stock above its minimum, and idle
 * SuperSlabs. */
#include <stdio.h>

#include "hakmemctl/ask.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"

int cmd_trim(const struct invocation *invocation)
{
    int code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    Hakmem__Trim trim = HAKMEM__TRIM__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_TRIM;
    request.trim = &trim;
    Hakmem__Reply *reply;
    code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_TRIM, &reply);
    if (code == CTL_OK && invocation->json) {
        code = output_json(output_message_json(&reply->trim->base)) ? CTL_OK : CTL_FAILED;
    } else if (code == CTL_OK) {
        char size[OUTPUT_CELL_BYTES];
        printf("released %s\n", output_size(reply->trim->released_bytes, size));
        code = output_flush() ? CTL_OK : CTL_FAILED;
    }
    session_close(session);
    return code;
}
