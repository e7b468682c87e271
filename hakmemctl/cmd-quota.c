/*
 * hakmemctl quota KEY VALUE [--uid UID]: changes a quota of the running daemon, for every user or
 * for one. The configuration file is not touched.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hakmemctl/ask.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"

/* As the daemon knows them. */
static char *const keys[] = {"bytes_per_user",       "bytes_per_client",    "clients_per_user",
                             "descriptors_per_user", "requests_per_second", "requests_per_user"};
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

/* People may write them as in the configuration file, with "quota." before. */
static char *quota_key(const char *text)
{
    if (strncmp(text, "quota.", 6) == 0)
        text += 6;
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(text, keys[i]) == 0)
            return keys[i];
    return NULL;
}

static int parse(const struct invocation *invocation, Hakmem__SetQuota *quota)
{
    quota->key = quota_key(invocation->arguments[0]);
    if (!quota->key) {
        fprintf(stderr,
                "hakmemctl: quota: no such quota: %s; there are:", invocation->arguments[0]);
        for (size_t i = 0; i < N_KEYS; i++)
            fprintf(stderr, " %s", keys[i]);
        fputc('\n', stderr);
        return CTL_USAGE;
    }
    int r = output_parse_size(invocation->arguments[1], &quota->value);
    if (r < 0) {
        fprintf(stderr, "hakmemctl: quota: %s: %s\n", r == -ERANGE ? "too large" : "not a number",
                invocation->arguments[1]);
        return CTL_USAGE;
    }
    quota->one_user = invocation->one_user;
    quota->uid = invocation->uid;
    return CTL_OK;
}

static bool print_done(const struct invocation *invocation, const Hakmem__SetQuota *quota)
{
    if (invocation->json) {
        json_t *object =
            json_pack("{s:s, s:I}", "key", quota->key, "value", (json_int_t)quota->value);
        if (object && quota->one_user)
            json_object_set_new(object, "uid", json_integer(quota->uid));
        return output_json(object);
    }
    char value[OUTPUT_CELL_BYTES];
    if (strncmp(quota->key, "bytes", 5) == 0)
        output_size(quota->value, value);
    else
        output_count(quota->value, value);
    printf("%s is now %s", quota->key, value);
    if (quota->one_user)
        printf(" for uid %" PRIu32 "\n", quota->uid);
    else
        puts(" for every user without a value of their own");
    return output_flush();
}

int cmd_quota(const struct invocation *invocation)
{
    Hakmem__SetQuota quota = HAKMEM__SET_QUOTA__INIT;
    int code = parse(invocation, &quota);
    if (code != CTL_OK)
        return code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_SET_QUOTA;
    request.set_quota = &quota;
    Hakmem__Reply *reply;
    code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_SET_QUOTA, &reply);
    if (code == CTL_OK)
        code = print_done(invocation, &quota) ? CTL_OK : CTL_FAILED;
    session_close(session);
    return code;
}
