/*
 * A C++ program of the usual kind, for tests/real/cxx.sh: maps, strings, vectors, shared pointers,
 * exceptions and threads. Prints the same whatever the allocator.
 */
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace
{

uint64_t digest(uint64_t seed, const std::string &text)
{
    for (unsigned char c : text)
        seed = (seed ^ c) * UINT64_C(0x100000001b3);
    return seed;
}

struct node {
    std::string name;
    std::vector<std::shared_ptr<node>> children;
};

std::shared_ptr<node> grow(std::mt19937_64 &random, unsigned depth)
{
    auto n = std::make_shared<node>();
    n->name = std::string(random() % 60, static_cast<char>('a' + random() % 26));
    for (unsigned i = 0; depth && i < 4; i++)
        n->children.push_back(grow(random, depth - 1));
    return n;
}

uint64_t walk(const node &n, uint64_t seed)
{
    seed = digest(seed, n.name);
    for (const auto &child : n.children)
        seed = walk(*child, seed);
    return seed;
}

/* One of several threads; results move between threads, and with them the duty to free. */
uint64_t work(unsigned index, std::vector<std::string> &handed_over, std::mutex &lock)
{
    std::mt19937_64 random(index);
    std::map<std::string, std::vector<int>> ordered;
    std::unordered_map<uint64_t, std::string> hashed;
    for (int i = 0; i < 120000; i++) {
        std::string key = std::to_string(random() % 50000) + std::string(random() % 40, 'k');
        ordered[key].push_back(i);
        hashed[random() % 30000] += key.substr(0, 8);
        if (i % 10 == 0) {
            std::lock_guard<std::mutex> guard(lock);
            handed_over.push_back(std::move(key));
            if (handed_over.size() > 5000)
                handed_over.clear();
        }
        if (i % 1000 == 0) {
            try {
                throw std::runtime_error("exception number " + std::to_string(i));
            } catch (const std::exception &e) {
                hashed[i] = e.what();
            }
        }
        if (i % 7 == 0 && !ordered.empty())
            ordered.erase(ordered.begin());
    }
    uint64_t sum = index;
    for (const auto &entry : ordered)
        sum = digest(sum + entry.second.size(), entry.first);
    std::vector<std::pair<uint64_t, std::string>> sorted(hashed.begin(), hashed.end());
    std::sort(sorted.begin(), sorted.end());
    for (const auto &entry : sorted)
        sum = digest(sum ^ entry.first, entry.second);
    auto tree = grow(random, 6);
    return walk(*tree, sum);
}

} // namespace

int main()
{
    std::vector<std::string> handed_over;
    std::mutex lock;
    std::vector<uint64_t> sums(4);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < sums.size(); i++)
        threads.emplace_back([&, i] { sums[i] = work(i, handed_over, lock); });
    for (auto &thread : threads)
        thread.join();
    for (uint64_t sum : sums)
        std::printf("%016llx\n", static_cast<unsigned long long>(sum));
}
