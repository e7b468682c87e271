/* The C library's ways of asking an allocator about itself: mallinfo, mallinfo2, malloc_stats,
 * malloc_info. */
#ifndef HAKMEM_LIBCLIENT_REPORT_H
#define HAKMEM_LIBCLIENT_REPORT_H

#include <stddef.h>

/* Field names, order and types are glibc's ABI (mallinfo(3)). */
struct mallinfo {
    int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct mallinfo mallinfo(void);
struct mallinfo2 mallinfo2(void);
void malloc_stats(void);
/* `stream` is a FILE; the library does not know that type. 0, or -1 with errno EINVAL. */
int malloc_info(int options, void *stream);
int malloc_trim(size_t keep_bytes);
int mallopt(int parameter, int value);

#endif
