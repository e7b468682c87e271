/*
 * operator new and delete on the allocator that this program runs on, for lib-new.sh: what the C++
 * standard promises. Prints "ok", or each promise that is broken; exit 1 then.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

static int n_broken;
static int n_handled;

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::printf("line %d: %s\n", __LINE__, #condition);                                    \
            n_broken++;                                                                            \
        }                                                                                          \
    } while (0)

static volatile std::size_t impossible = PTRDIFF_MAX / 2;

struct alignas(256) aligned {
    char bytes[256];
};

static void give_up()
{
    if (++n_handled == 3)
        std::set_new_handler(nullptr);
}

static bool throws(std::size_t n)
{
    try {
        char *p = new char[n];
        delete[] p;
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

struct thrower {
    char bytes[3000];
    thrower()
    {
        throw 42;
    }
};

int main()
{
    expect(throws(impossible));
    expect(throws(impossible * 4 - 100)); /* near the top of size_t */
    expect(new (std::nothrow) char[impossible] == nullptr);
    std::set_new_handler(give_up);
    expect(throws(impossible));
    expect(n_handled == 3);
    try {
        volatile long n = -1;
        int *p = new int[n];
        delete[] p;
        expect(!"a negative length");
    } catch (const std::bad_alloc &) {
    }

    for (int i = 0; i < 1000; i++) {
        std::unique_ptr<aligned> one(new aligned);
        std::unique_ptr<aligned[]> many(new aligned[i % 7 + 1]);
        expect(reinterpret_cast<std::uintptr_t>(one.get()) % 256 == 0);
        expect(reinterpret_cast<std::uintptr_t>(many.get()) % 256 == 0);
        std::memset(many.get(), 1, sizeof(aligned));
        void *p = ::operator new(100 + i, std::align_val_t(4096));
        expect(reinterpret_cast<std::uintptr_t>(p) % 4096 == 0);
        ::operator delete(p, 100 + i, std::align_val_t(4096));
        p = ::operator new(i);
        expect(p != nullptr);
        ::operator delete(p, static_cast<std::size_t>(i));
        try {
            new thrower;
            expect(!"a constructor that throws");
        } catch (int) {
        }
    }
    std::vector<std::vector<int>> vectors(2000);
    for (int i = 0; i < 200000; i++)
        vectors[i % 2000].push_back(i);
    for (int i = 0; i < 2000; i++)
        expect(vectors[i].size() == 100 && vectors[i][99] == 99 * 2000 + i);
    if (!n_broken)
        std::puts("ok");
    return n_broken != 0;
}
