// strings_map: what many C++ programs do all day: std::string keys in std::map, vectors of strings, copies, erasures.
//
//   strings_map ROUNDS SEED
//
// Plain C++ with new and delete; bench/common.c has the clock and the report.
extern "C" {
#include "bench/common.h"
}

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

static const char usage[] = "ROUNDS SEED";

namespace
{

std::string make_key(std::uint64_t *state)
{
    std::string key = "user:" + std::to_string(random_below(state, 20000));
    if (key.size() % 2)
        key += ":a-suffix-that-does-not-fit-into-the-string-itself";
    return key;
}

std::size_t run_round(std::uint64_t *state)
{
    std::map<std::string, std::vector<std::string>> by_name;
    std::unordered_map<std::string, std::uint64_t> counts;
    for (int i = 0; i < 20000; i++) {
        std::string key = make_key(state);
        counts[key]++;
        by_name[key].push_back(key + "=" + std::to_string(i));
        if (i % 3 == 0)
            by_name.erase(make_key(state));
    }
    std::size_t n_bytes = 0;
    std::map<std::string, std::vector<std::string>> copy = by_name;
    for (const auto &entry : copy) {
        for (const auto &value : entry.second) {
            if (value.compare(0, entry.first.size(), entry.first) != 0)
                bench_corrupt(value.data(), "a value does not begin with its key");
            n_bytes += value.size();
        }
    }
    return n_bytes + counts.size();
}

} // namespace

int main(int argc, char **argv)
{
    std::uint64_t n_rounds = bench_argument(argc, argv, 1, usage);
    std::uint64_t seed = bench_argument(argc, argv, 2, usage);
    struct bench b;
    std::size_t first = 0;
    bench_start(&b, "strings_map");
    for (std::uint64_t round = 0; round < n_rounds; round++) {
        std::uint64_t state = random_seed(seed, 0);
        std::size_t result = run_round(&state);
        if (round && result != first)
            bench_corrupt(&result, "the same round gave another result");
        first = result;
    }
    bench_stop(&b);
    return bench_report(&b, static_cast<double>(b.elapsed_ns) * 1e-3, "us", nullptr);
}
