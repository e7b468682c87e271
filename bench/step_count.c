/*
 * step_count: instructions per malloc and per free, counted on the processor itself, one step at a
 * time. Under valgrind a library may find less address space than in real life and take another
 * path; here it runs as it always does.
 *
 *   step_count WARM_UP STEPPED WORKING_SET SEED
 *
 * A child does WARM_UP steps of random_mixed's loop at full speed, then STEPPED more under ptrace.
 * Prints one JSON object: per function the calls, the instructions with all they call and in the
 * function itself, how many calls left the function, and the instructions that were executed most
 * often with their offsets in the library's file.
 */
#include "bench/common.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <sys/user.h>

#define N_TABLE 65536u /* distinct instructions inside malloc and free; far more than there are */
#define N_HOT   40u

static const char usage[] = "WARM_UP STEPPED WORKING_SET SEED";

/* Told by the child before the stepped part. */
struct facts {
    uint64_t malloc_at, malloc_size;
    uint64_t free_at, free_size;
    uint64_t file_base; /* where the file that serves malloc is loaded */
    char file[512];
};

struct function {
    const char *name;
    uint64_t at, size;
    uint64_t n_calls, n_left; /* calls; of these, that went on in another function */
    uint64_t n_all, n_own;    /* instructions: all, and in the function itself */
};

struct hot {
    uint64_t address;
    uint64_t n;
};

static void run_loop(uint64_t n, void **slots, uint64_t n_slots, uint64_t *state)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t r = random_next(state);
        uint64_t slot = (uint64_t)(((unsigned __int128)(r >> 32) * n_slots) >> 32);
        if (slots[slot]) {
            free(slots[slot]);
            slots[slot] = NULL;
            continue;
        }
        size_t n_bytes = 16 + (r & 1023);
        slots[slot] = bench_malloc(n_bytes);
        block_stamp(slots[slot], n_bytes, (uint8_t)r);
    }
}

static uint64_t locate(const char *name, uint64_t *size, struct facts *facts)
{
    Dl_info info;
    const Elf64_Sym *symbol = NULL;
    void *function = dlsym(RTLD_DEFAULT, name);
    if (!function || !dladdr1(function, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol)
        bench_die(name);
    *size = symbol->st_size;
    facts->file_base = (uint64_t)(uintptr_t)info.dli_fbase;
    snprintf(facts->file, sizeof(facts->file), "%s", info.dli_fname);
    return (uint64_t)(uintptr_t)function;
}

static int child_main(int argc, char **argv)
{
    uint64_t n_warm = bench_argument(argc, argv, 1, usage);
    uint64_t n_stepped = bench_argument(argc, argv, 2, usage);
    uint64_t n_slots = bench_argument(argc, argv, 3, usage);
    uint64_t state = bench_argument(argc, argv, 4, usage);
    struct facts facts = {0};
    void **slots = bench_pages(n_slots * sizeof(*slots));
    facts.free_at = locate("free", &facts.free_size, &facts);
    facts.malloc_at = locate("malloc", &facts.malloc_size, &facts);
    run_loop(n_warm, slots, n_slots, &state);
    if (write(atoi(argv[5]), &facts, sizeof(facts)) != sizeof(facts) ||
        ptrace(PTRACE_TRACEME, 0, 0, 0))
        bench_die("step_count child");
    raise(SIGSTOP);
    run_loop(n_stepped, slots, n_slots, &state);
    raise(SIGSTOP);
    _exit(0);
}

static void count_hot(struct hot *table, uint64_t address)
{
    uint32_t at = (uint32_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 48) % N_TABLE;
    for (uint32_t tries = 0; tries < N_TABLE; tries++, at = (at + 1) % N_TABLE) {
        if (table[at].n == 0)
            table[at].address = address;
        if (table[at].address == address) {
            table[at].n++;
            return;
        }
    }
}

static bool is_in(const struct function *f, uint64_t address)
{
    return address >= f->at && address < f->at + f->size;
}

/* One step of the child; false once it has stopped for good. */
static bool step(pid_t child, struct user_regs_struct *registers)
{
    int status;
    if (ptrace(PTRACE_SINGLESTEP, child, 0, 0) || waitpid(child, &status, 0) != child)
        bench_die("single step");
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
        return false;
    if (ptrace(PTRACE_GETREGS, child, 0, registers))
        bench_die("registers");
    return true;
}

/* Steps to the child's second stop, counting what happens between the entry and the return of the
 * functions. */
static void follow(pid_t child, struct function functions[2], struct hot *table)
{
    struct user_regs_struct registers;
    struct function *inside = NULL;
    uint64_t entry_stack = 0;
    bool left = false;
    while (step(child, &registers)) {
        if (inside && registers.rsp == entry_stack + 8) { /* the return address is popped */
            inside->n_left += left;
            inside = NULL;
        }
        for (unsigned i = 0; !inside && i < 2; i++) {
            if (registers.rip == functions[i].at) {
                inside = &functions[i];
                inside->n_calls++;
                entry_stack = registers.rsp;
                left = false;
            }
        }
        if (!inside)
            continue;
        inside->n_all++;
        if (is_in(inside, registers.rip))
            inside->n_own++;
        else
            left = true;
        count_hot(table, registers.rip);
    }
}

static int compare_hot(const void *a, const void *b)
{
    const struct hot *x = a, *y = b;
    return (x->n < y->n) - (x->n > y->n);
}

static void print_report(const struct facts *facts, const struct function functions[2],
                         struct hot *table)
{
    printf("{\"file\": \"%s\"", facts->file);
    for (unsigned i = 0; i < 2; i++) {
        const struct function *f = &functions[i];
        double calls = f->n_calls ? (double)f->n_calls : 1;
        printf(", \"%s\": {\"calls\": %llu, \"inclusive\": %.2f, \"self\": %.2f, \"left_share\": "
               "%.4f}",
               f->name, (unsigned long long)f->n_calls, (double)f->n_all / calls,
               (double)f->n_own / calls, (double)f->n_left / calls);
    }
    uint64_t total = functions[0].n_all + functions[1].n_all;
    qsort(table, N_TABLE, sizeof(*table), compare_hot);
    printf(", \"hot\": [");
    for (unsigned i = 0; i < N_HOT && table[i].n; i++)
        printf("%s[%.3f, %lld]", i ? ", " : "", 100.0 * (double)table[i].n / (double)total,
               (long long)(table[i].address - facts->file_base));
    printf("]}\n");
}

int main(int argc, char **argv)
{
    if (argc == 6)
        return child_main(argc, argv);
    if (argc != 5)
        bench_usage(argv[0], usage);
    int ends[2];
    char number[16];
    if (pipe(ends))
        bench_die("pipe");
    snprintf(number, sizeof(number), "%d", ends[1]);
    pid_t child = fork();
    if (child < 0)
        bench_die("fork");
    if (child == 0) {
        execl("/proc/self/exe", argv[0], argv[1], argv[2], argv[3], argv[4], number, (char *)NULL);
        bench_die("exec");
    }
    struct facts facts;
    int status;
    close(ends[1]);
    if (read(ends[0], &facts, sizeof(facts)) != sizeof(facts) ||
        waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
        fprintf(stderr, "step_count: the child did not come to its stop\n");
        return 1;
    }
    struct function functions[2] = {
        {.name = "malloc", .at = facts.malloc_at, .size = facts.malloc_size},
        {.name = "free", .at = facts.free_at, .size = facts.free_size}};
    struct hot *table = bench_pages(N_TABLE * sizeof(*table));
    follow(child, functions, table);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    print_report(&facts, functions, table);
    return 0;
}

#else

int main(void)
{
    fprintf(stderr, "step_count: not written for this processor\n");
    return 77;
}

#endif
