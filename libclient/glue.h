/*
 * The outside world, as the library sees it: memory from the kernel, threads' ids, futexes, the
 * clock, messages.
 *
 * The only file with mapping system calls. Nothing here allocates, takes a lock or touches stdio.
 */
#ifndef HAKMEM_LIBCLIENT_GLUE_H
#define HAKMEM_LIBCLIENT_GLUE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Address space without memory (PROT_NONE, not accounted), or NULL. */
void *glue_reserve(size_t n_bytes);
void glue_unreserve(void *at, size_t n_bytes);

/* Reserved space becomes readable only (reads as zero) or usable. False: the kernel has no memory
 * for it. */
bool glue_make_readable(void *at, size_t n_bytes);
bool glue_make_usable(void *at, size_t n_bytes);

/* Anonymous memory over [at, at + n_bytes), whatever was there. */
bool glue_map_private(void *at, size_t n_bytes);
/* An extent's file over [at, ...), shared with the daemon; or, at fork, as a private copy on write
 * of what is there. */
bool glue_map_shared(void *at, size_t n_bytes, int fd);
/* Is the file of hugetlb pages? */
bool glue_is_hugetlb(int fd);
bool glue_map_copy(void *at, size_t n_bytes, int fd, size_t offset);
/* The file again, at an address of the kernel's choice, shared and out of reach (PROT_NONE). NULL:
 * no address space. */
void *glue_map_untouched(size_t n_bytes, int fd);
/* The same, to read and write. */
void *glue_map_again(size_t n_bytes, int fd);
/* Frees the file's pages behind a shared mapping; other mappings' private copies stay. */
bool glue_free_file_pages(void *at, size_t n_bytes);
/* Back to address space without memory. */
bool glue_unmap(void *at, size_t n_bytes);

/* Anonymous memory at `at` reads as zero from now on and costs nothing until touched. */
bool glue_purge(void *at, size_t n_bytes);
/* Brings the pages of a mapping in at once instead of fault by fault. A hint. */
void glue_populate(void *at, size_t n_bytes);
/* The same where it is no hint, of memory that holds nothing and is nobody's. False: the kernel has
 * no memory for all of them. */
bool glue_bring_in(void *at, size_t n_bytes);
/* The same for all pages that hold a byte of it. Worth it for a single page that is about to be
 * written to (measured where a fault is dear, on a virtual machine: 3 us for the call against 20).
 */
void glue_populate_pages(const void *at, size_t n_bytes);
/* Asks for huge pages where none are there yet. A hint. */
void glue_huge_pages(void *at, size_t n_bytes);
/* Keeps huge pages away from memory that may stay mostly untouched. A hint. */
void glue_no_huge_pages(void *at, size_t n_bytes);
/*
 * The 2 MiB page at `at`, if there is one in private memory, becomes small pages. Of one that is
 * whole the kernel keeps the parts that are purged until memory is short. A hint, which changes no
 * contents; 150 us.
 */
void glue_split_huge_page(void *at);
/* Moves anonymous pages; the source stays mapped and reads as zero. False: nothing has changed. */
bool glue_move(void *from, void *to, size_t n_bytes);

/* Sets bit 0 of a byte for each page that is resident (one that is swapped out is not). False: the
 * kernel does not tell. */
bool glue_find_resident(const void *at, size_t n_bytes, unsigned char *resident);

/* Leaves this memory out of children that are forked from now on. */
bool glue_dont_fork(void *at, size_t n_bytes);
/* Replaces the shared mapping by anonymous memory with the same contents. Not atomic for other
 * threads' writes. */
bool glue_copy_in_place(void *at, size_t n_bytes);

/* These are no cancellation points, as libc's functions are: they are called with locks held. */
void glue_close(int fd);
void glue_close_uncounted(int fd);
/* fstat(). Not counted here. */
struct stat;
int glue_stat(int fd, struct stat *status);
/* The file's inode number, 0 if there is no such descriptor: tells whether a number still is the
 * file that we opened. */
uint64_t glue_inode(int fd);
/* Is this a file whose size is sealed, and its seals with it? */
bool glue_has_size_sealed(int fd);
/*
 * From which number on the library's own descriptors lie: high, out of the way of programs that
 * count on low ones. Lower in a program of several threads: where the kernel's table has to grow
 * under these, it waits until no processor looks at the old one any more, some 10 ms each time.
 */
int glue_first_descriptor(void);
/* Moves a descriptor there, or to the upper half of so many numbers that there are; the old number
 * if that fails. Consumes `fd`. */
int glue_descriptor_up(int fd, uint32_t limit);
/* RLIMIT_NOFILE, soft. */
uint32_t glue_descriptor_limit(void);

size_t glue_page_bytes(void);
/* The address-space limit (RLIMIT_AS), or SIZE_MAX. */
size_t glue_address_space_limit(void);
/* How much a process without privilege may lock (RLIMIT_MEMLOCK), or SIZE_MAX. */
size_t glue_lockable_limit(void);
/* mlockall(), by the kernel. */
int glue_lock_all(int flags);
uint32_t glue_n_processors(void);
uint32_t glue_thread_id(void);
/* No other thread was ever started, or all have ended: the C library's word on it. */
bool glue_is_single_threaded(void);
/* Milliseconds of a monotonic clock, coarse: no system call. */
uint64_t glue_now_ms(void);
uint64_t glue_now_ns(void); /* the same clock, exact */
uint32_t glue_now_s(void);
/* Sleeps for less than a second, or until a signal. */
void glue_pause_us(uint32_t us);

/* Sleeps while *word == seen. Spurious returns are possible. */
void glue_futex_wait(uint32_t *word, uint32_t seen);
void glue_futex_wake_one(uint32_t *word);

/* All signals of this thread wait, or come again. */
void glue_block_signals(sigset_t *saved);
void glue_restore_signals(const sigset_t *saved);

/* Page faults of this process so far, of all its threads; 0 where the kernel is not asked. */
uint64_t glue_n_faults(void);

/* System calls made so far by this file, and those that others report. */
uint64_t glue_n_syscalls(void);
void glue_count_syscalls(uint64_t n);

#endif
