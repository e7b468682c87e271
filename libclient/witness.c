/* See witness.h. */
#include "libclient/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libclient/glue.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

/* Nothing is ever in it: the file may be shorter than its mapping. */
#define MAPPED_BYTES 4096u

static int create(void)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("hakmem-witness", flags | MFD_NOEXEC_SEAL);
    return fd < 0 && errno == EINVAL ? memfd_create("hakmem-witness", flags) : fd;
}

bool witness_init(struct witness *witness)
{
    uint64_t n_syscalls = 1;
    int saved_errno = errno;
    struct witness new = WITNESS_NONE;
    int fd = create();
    if (fd >= 0)
        new.at = glue_map_untouched(MAPPED_BYTES, fd);
    if (fd >= 0 && !new.at)
        glue_close(fd);
    else if (fd >= 0 && !descriptor_adopt(&new.file, fd, &n_syscalls))
        glue_unreserve(new.at, MAPPED_BYTES);
    glue_count_syscalls(n_syscalls);
    errno = saved_errno;
    if (new.file.fd < 0)
        return false;
    *witness = new;
    return true;
}

bool witness_exists(const struct witness *witness)
{
    return witness->file.fd >= 0;
}

void witness_retire(struct witness *witness)
{
    glue_unreserve(witness->at, MAPPED_BYTES);
    witness->at = NULL;
}

enum witness_answer witness_ask(const struct witness *witness)
{
    uint64_t n_syscalls = 1;
    int saved_errno = errno;
    enum witness_answer answer = WITNESS_LOST;
    if (descriptor_is_ours(&witness->file, &n_syscalls)) {
        if (fcntl(witness->file.fd, F_ADD_SEALS, F_SEAL_WRITE) == 0)
            answer = WITNESS_ALONE;
        else if (errno == EBUSY)
            answer = WITNESS_HELD;
    }
    glue_count_syscalls(n_syscalls);
    errno = saved_errno;
    return answer;
}

void witness_forget(struct witness *witness)
{
    uint64_t n_syscalls = 0;
    int saved_errno = errno;
    descriptor_release(&witness->file, &n_syscalls);
    glue_count_syscalls(n_syscalls);
    errno = saved_errno;
    *witness = WITNESS_NONE;
}
