/* See extentfile.h. */
#include "libclient/extentfile.h"

#include <stddef.h>

#include "libclient/glue.h"

/* Descriptors sit at high numbers; at most this share of RLIMIT_NOFILE. */
#define DESCRIPTOR_SHARE 4u

static uint32_t n_descriptors;

/* How many numbers the program had when it was last asked. */
static uint32_t n_numbers;

static uint32_t limit(void)
{
    if (n_numbers == 0)
        n_numbers = glue_descriptor_limit();
    return n_numbers;
}

int extentfile_adopt(int fd)
{
    n_descriptors++;
    int up = glue_descriptor_up(fd, limit());
    if (up != fd)
        return up;
    n_numbers = 0; /* it may have fewer by now */
    return glue_descriptor_up(fd, limit());
}

bool extentfile_is_ours(const struct superslab *head)
{
    return head->extent_fd >= 0 && glue_inode(head->extent_fd) == head->extent_inode;
}

unsigned char *extentfile_map(const struct superslab *head)
{
    size_t n_bytes = superslab_bytes(head->extent_slabs);
    if (!extentfile_is_ours(head))
        return NULL;
    void *at = glue_map_again(n_bytes, head->extent_fd);
    if (!at)
        return NULL;
    /* Checked afterwards: a number that another thread has turned into some other file never turns
     * back into ours. Inode numbers alone are one filesystem's; nobody else's file has these seals,
     * too. */
    if (extentfile_is_ours(head) && glue_has_size_sealed(head->extent_fd))
        return at;
    glue_unreserve(at, n_bytes);
    return NULL;
}

void extentfile_drop(struct superslab *head)
{
    if (head->extent_fd < 0)
        return;
    if (extentfile_is_ours(head))
        glue_close(head->extent_fd);
    head->extent_fd = -1;
    n_descriptors--;
}

bool extentfile_may_hold_more(void)
{
    return n_descriptors < limit() / DESCRIPTOR_SHARE;
}

bool extentfile_may_keep(void)
{
    return n_descriptors <= limit() / DESCRIPTOR_SHARE / 2;
}
