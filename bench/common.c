/*
 * See common.h. Everything here that allocates, prints or asks the kernel for much does so outside
 * the timed part.
 */
#include "bench/common.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/whose_malloc.h"

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void bench_start(struct bench *b, const char *name)
{
    memset(b, 0, sizeof(*b));
    b->name = name;
    getrusage(RUSAGE_SELF, &b->before);
    b->started_ns = bench_now_ns();
}

void bench_stop(struct bench *b)
{
    b->elapsed_ns = bench_now_ns() - b->started_ns;
    getrusage(RUSAGE_SELF, &b->after);
}

/* Adds "Key:  123 kB" lines of a /proc file to the fields they belong to. */
static void read_proc_kib(const char *path, const char *const *keys, uint64_t **fields,
                          size_t n_keys)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    char line[256];
    while (fgets(line, sizeof(line), file)) {
        for (size_t i = 0; i < n_keys; i++) {
            size_t length = strlen(keys[i]);
            if (!strncmp(line, keys[i], length) && line[length] == ':')
                *fields[i] = strtoull(line + length + 1, NULL, 10);
        }
    }
    fclose(file);
}

/* Pages in the memfds that this process has descriptors of. */
static uint64_t read_memfd_kib(void)
{
    DIR *fds = opendir("/proc/self/fd");
    uint64_t n_blocks = 0;
    struct dirent *entry;
    while (fds && (entry = readdir(fds))) {
        char target[16] = "";
        struct stat status;
        if (readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1) > 0 &&
            !strncmp(target, "/memfd:", 7) && fstatat(dirfd(fds), entry->d_name, &status, 0) == 0)
            n_blocks += (uint64_t)status.st_blocks;
    }
    if (fds)
        closedir(fds);
    return n_blocks / 2;
}

void bench_read_memory(struct bench_memory *memory)
{
    static const char *const status_keys[] = {"VmRSS", "VmHWM", "RssShmem"};
    static const char *const smaps_keys[] = {"Pss"};
    uint64_t *status_fields[] = {&memory->rss_kib, &memory->high_rss_kib, &memory->shmem_kib};
    uint64_t *smaps_fields[] = {&memory->pss_kib};
    memset(memory, 0, sizeof(*memory));
    read_proc_kib("/proc/self/smaps_rollup", smaps_keys, smaps_fields, 1);
    read_proc_kib("/proc/self/status", status_keys, status_fields, 3);
    memory->memfd_kib = read_memfd_kib();
}

void bench_mark_full(struct bench *b)
{
    bench_read_memory(&b->full);
}

void bench_add(struct bench *b, const char *key, double value)
{
    if (b->n_extras < BENCH_MAX_EXTRAS)
        b->extras[b->n_extras++] = (struct bench_extra){key, value};
}

double bench_rate(const struct bench *b, double n_operations)
{
    return n_operations / ((double)b->elapsed_ns * 1e-9);
}

static double seconds_between(struct timeval from, struct timeval to)
{
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_usec - from.tv_usec) * 1e-6;
}

int bench_report(struct bench *b, double value, const char *unit, const void *sample)
{
    struct bench_memory last;
    bench_read_memory(&last);
    if (!b->full.rss_kib)
        b->full = last;
    void *own_sample = sample ? NULL : malloc(100);
    printf("{\"bench\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"seconds\": %.6f, ", b->name,
           value, unit, (double)b->elapsed_ns * 1e-9);
    printf("\"user_s\": %.6f, \"system_s\": %.6f, \"faults\": %ld, \"major_faults\": %ld, ",
           seconds_between(b->before.ru_utime, b->after.ru_utime),
           seconds_between(b->before.ru_stime, b->after.ru_stime),
           b->after.ru_minflt - b->before.ru_minflt, b->after.ru_majflt - b->before.ru_majflt);
    printf("\"peak_rss_kib\": %llu, \"full_rss_kib\": %llu, \"full_pss_kib\": %llu, "
           "\"full_shmem_kib\": %llu, ",
           (unsigned long long)last.high_rss_kib, (unsigned long long)b->full.rss_kib,
           (unsigned long long)b->full.pss_kib, (unsigned long long)b->full.shmem_kib);
    for (size_t i = 0; i < b->n_extras; i++)
        printf("\"%s\": %.6g, ", b->extras[i].key, b->extras[i].value);
    printf("\"hak_owns\": %d, \"malloc_file\": \"%s\"}\n",
           whose_block(sample ? sample : own_sample), whose_malloc());
    free(own_sample);
    return fflush(stdout) ? 1 : 0;
}

struct team {
    void (*work)(void *context, unsigned index);
    void *context;
    pthread_barrier_t gate;
};

struct member {
    struct team *team;
    pthread_t thread;
    unsigned index;
};

static void *member_main(void *argument)
{
    struct member *member = argument;
    pthread_barrier_wait(&member->team->gate);
    member->team->work(member->team->context, member->index);
    return NULL;
}

void bench_run_threads(struct bench *b, const char *name, unsigned n_threads,
                       void (*work)(void *context, unsigned index), void *context)
{
    if (n_threads == 1) {
        bench_start(b, name);
        work(context, 0);
        bench_stop(b);
        return;
    }
    if (n_threads > BENCH_MAX_THREADS)
        n_threads = BENCH_MAX_THREADS;
    struct team team = {.work = work, .context = context};
    struct member members[BENCH_MAX_THREADS];
    pthread_barrier_init(&team.gate, NULL, n_threads + 1);
    for (unsigned i = 0; i < n_threads; i++) {
        members[i] = (struct member){.team = &team, .index = i};
        int error = pthread_create(&members[i].thread, NULL, member_main, &members[i]);
        if (error) {
            errno = error;
            bench_die("pthread_create");
        }
    }
    bench_start(b, name);
    pthread_barrier_wait(&team.gate);
    for (unsigned i = 0; i < n_threads; i++)
        pthread_join(members[i].thread, NULL);
    bench_stop(b);
    pthread_barrier_destroy(&team.gate);
}

void *bench_pages(size_t n_bytes)
{
    void *pages = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == MAP_FAILED)
        bench_die("mmap");
    return pages;
}

uint64_t bench_argument(int argc, char **argv, int index, const char *usage)
{
    if (index >= argc)
        bench_usage(argv[0], usage);
    char *end;
    errno = 0;
    unsigned long long value = strtoull(argv[index], &end, 10);
    if (end != argv[index]) {
        unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        value <<= shift;
        end += shift != 0;
    }
    if (errno || end == argv[index] || *end || value == 0 || value > (UINT64_C(1) << 40))
        bench_usage(argv[0], usage);
    return value;
}

void bench_usage(const char *program, const char *usage)
{
    fprintf(stderr, "usage: %s %s\n", program, usage);
    exit(2);
}

void bench_die(const char *what)
{
    perror(what);
    exit(1);
}

void bench_corrupt(const void *block, const char *what)
{
    fprintf(stderr, "corrupt: block %p does not hold what was written (%s)\n", block, what);
    abort();
}

void *bench_malloc(size_t n_bytes)
{
    void *block = malloc(n_bytes);
    if (!block)
        bench_die("malloc");
    return block;
}
