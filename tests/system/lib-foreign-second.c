/*
 * A second allocator, to stand behind the library in a program's symbol search: blocks of at most
 * 240 bytes out of a static pool, of which it knows which are live. lib-foreign.sh builds it as a
 * shared object.
 *
 * second_malloc() is the door to it that no other allocator has; second_n_live() and
 * second_n_freed() tell the program what came back.
 */
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

enum { BLOCK_BYTES = 256, N_BLOCKS = 64, HEAD_BYTES = 16 };

static _Alignas(16) unsigned char pool[N_BLOCKS * BLOCK_BYTES];
static size_t sizes[N_BLOCKS]; /* 0: not live */
static unsigned n_freed;

static int index_of(const void *block)
{
    size_t offset = (size_t)((const unsigned char *)block - pool);
    return offset < sizeof(pool) && offset % BLOCK_BYTES == HEAD_BYTES ? (int)(offset / BLOCK_BYTES)
                                                                       : -1;
}

void *second_malloc(size_t n_bytes)
{
    for (int i = 0; i < N_BLOCKS; i++) {
        if (sizes[i] == 0 && n_bytes <= BLOCK_BYTES - HEAD_BYTES) {
            sizes[i] = n_bytes;
            return pool + i * BLOCK_BYTES + HEAD_BYTES;
        }
    }
    return NULL;
}

unsigned second_n_freed(void)
{
    return n_freed;
}

unsigned second_n_live(void)
{
    unsigned n = 0;
    for (int i = 0; i < N_BLOCKS; i++)
        n += sizes[i] != 0;
    return n;
}

/* The malloc family, as far as the library hands on to it. */
void free(void *block)
{
    int i = index_of(block);
    if (i < 0 || sizes[i] == 0) {
        static const char message[] = "second: not mine\n";
        if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
            _exit(4);
        _exit(3);
    }
    sizes[i] = 0;
    n_freed++;
}

size_t malloc_usable_size(void *block)
{
    int i = index_of(block);
    return i < 0 ? 0 : sizes[i];
}
