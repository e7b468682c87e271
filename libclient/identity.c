/* See identity.h. */
#include "libclient/identity.h"

#include <string.h>

void identity_show(const struct identity *identity, bool claims, Hakmem__Hello *hello)
{
    hello->features |= WIRE_FEATURE_REATTACH;
    if (!claims || identity->client_id == 0)
        return;
    hello->client_id = identity->client_id;
    hello->reattach_token.data = (uint8_t *)identity->token; /* packing only reads it */
    hello->reattach_token.len = sizeof(identity->token);
}

void identity_take(struct identity *identity, const Hakmem__HelloReply *hello)
{
    identity->client_id = 0;
    if (!(hello->features & WIRE_FEATURE_REATTACH) ||
        hello->reattach_token.len != sizeof(identity->token))
        return;
    identity->client_id = hello->client_id;
    memcpy(identity->token, hello->reattach_token.data, sizeof(identity->token));
}

void identity_forget(struct identity *identity)
{
    explicit_bzero(identity, sizeof(*identity));
}
