/* hakmemctl ping: is the daemon there, which one, and how long does its loop take to answer? */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "hakmemctl/ask.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int print_ping(const struct invocation *invocation, const Hakmem__PingReply *ping,
                      int64_t round_trip_us)
{
    if (invocation->json) {
        json_t *object = output_message_json(&ping->base);
        if (object)
            json_object_set_new(object, "round_trip_us", json_integer(round_trip_us));
        return output_json(object) ? CTL_OK : CTL_FAILED;
    }
    char version[64], duration[OUTPUT_CELL_BYTES];
    output_clean(ping->version, version, sizeof(version));
    printf("hakmemd %s, pid %" PRIu32 ", up %s: answered in %" PRId64 " us\n", version, ping->pid,
           output_duration(ping->uptime_ms / 1000, duration), round_trip_us);
    return output_flush() ? CTL_OK : CTL_FAILED;
}

int cmd_ping(const struct invocation *invocation)
{
    int code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    Hakmem__Ping ping = HAKMEM__PING__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_PING;
    request.ping = &ping;
    Hakmem__Reply *reply;
    int64_t asked_us = now_us();
    code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_PING, &reply);
    if (code == CTL_OK)
        code = print_ping(invocation, reply->ping, now_us() - asked_us);
    session_close(session);
    return code;
}
