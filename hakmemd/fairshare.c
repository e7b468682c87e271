/* See fairshare.h. */
#include "hakmemd/fairshare.h"

#include "common/check.h"

/* On the list, which is gone over for each extent. A user may be as many as it was lent user IDs.
 */
#define N_TAKERS_MAX 512
#define FADE_SHIFT   3                      /* an eighth a second */
#define FADED_BYTES  (SUPERSLAB_BYTES >> 6) /* of one SuperSlab: half a minute later */

void fairshare_init(struct fairshare *fairshare)
{
    list_init(&fairshare->takers);
    fairshare->n_takers = 0;
}

static void forget(struct fairshare *fairshare, struct quota_user *user)
{
    list_remove(&user->taker_link);
    user->asked_bytes = 0;
    user->taken_bytes = 0;
    fairshare->n_takers--;
    quota_user_unref(user);
}

void fairshare_deinit(struct fairshare *fairshare)
{
    list_for_each_safe(it, &fairshare->takers)
    {
        forget(fairshare, list_entry(it, struct quota_user, taker_link));
    }
}

void fairshare_note_asked(struct fairshare *fairshare, struct quota_user *user, uint64_t n_bytes)
{
    if (list_is_empty(&user->taker_link)) {
        struct quota_user *same;
        if (fairshare->n_takers == N_TAKERS_MAX) /* the one that has been there longest */
            forget(fairshare, list_entry(fairshare->takers.next, struct quota_user, taker_link));
        if (quota_user_ref(user->quota, user->uid, &same) < 0)
            return; /* cannot be: it exists */
        list_push_back(&fairshare->takers, &user->taker_link);
        fairshare->n_takers++;
    }
    user->asked_bytes += n_bytes;
}

void fairshare_note_taken(struct fairshare *fairshare, struct quota_user *user, uint64_t n_bytes)
{
    check_or_trap(fairshare->n_takers > 0 && !list_is_empty(&user->taker_link));
    user->taken_bytes += n_bytes;
}

/* What the user may still count on, of a share. */
static uint64_t claim_of(const struct quota_user *user, uint64_t share_bytes)
{
    uint64_t wish_bytes = 2 * user->asked_bytes + SUPERSLAB_BYTES;
    uint64_t due_bytes = wish_bytes < share_bytes ? wish_bytes : share_bytes;
    return due_bytes > user->taken_bytes ? due_bytes - user->taken_bytes : 0;
}

bool fairshare_permits(const struct fairshare *fairshare, const struct quota_user *user,
                       uint64_t n_bytes, uint64_t stock_bytes)
{
    uint64_t whole_bytes = stock_bytes, claimed_bytes = 0;
    if (fairshare->n_takers <= 1)
        return true;
    list_for_each(it, &fairshare->takers)
    {
        whole_bytes += list_entry(it, struct quota_user, taker_link)->taken_bytes;
    }
    list_for_each(it, &fairshare->takers)
    {
        const struct quota_user *other = list_entry(it, struct quota_user, taker_link);
        if (other != user)
            claimed_bytes += claim_of(other, whole_bytes / fairshare->n_takers);
    }
    return n_bytes <= claim_of(user, whole_bytes / fairshare->n_takers) ||
           n_bytes + claimed_bytes <= stock_bytes;
}

void fairshare_fade(struct fairshare *fairshare)
{
    list_for_each_safe(it, &fairshare->takers)
    {
        struct quota_user *user = list_entry(it, struct quota_user, taker_link);
        user->asked_bytes -= user->asked_bytes >> FADE_SHIFT;
        user->taken_bytes -= user->taken_bytes >> FADE_SHIFT;
        if (user->asked_bytes < FADED_BYTES && user->taken_bytes < FADED_BYTES)
            forget(fairshare, user);
    }
}
