# The benchmarks. docs/benchmarks.md says what is measured and how; bench/driver/ runs it.
#
#   BENCH='regex'   only the rows whose name matches        ROUNDS=n   rounds instead of the default
#   PEERS='mimalloc name=/path/to/library.so …'             only these beside glibc and hakmem; name=file adds one

BENCH  ?=
ROUNDS ?=
PEERS  ?=

# Programs of the workloads, one file each, on common.c.
BENCH_NAMES := random_mixed_mt queue_handoff server_churn stress_sizes cold_start fork_heap realloc_patterns \
               calloc_patterns large_blocks thread_burst fragmentation compiler_tree burst tiny_factor \
               logic_minimise nbody_tree seed_targets step_count page_paths call_costs
# The daemon's own figures, without the library.
BENCH_DAEMON_NAMES := daemon_lease daemon_pages daemon_clients daemon_churn daemon_decay
BENCH_DAEMON_OBJ   := $(BUILD)/obj/bench/daemon_client.o $(BUILD)/obj/bench/daemon_load.o
BENCH_DIR   := $(BUILD)/bench
BENCH_BIN   := $(addprefix $(BENCH_DIR)/,$(BENCH_NAMES) $(BENCH_DAEMON_NAMES) strings_map measure touch_memory random_mixed)
BENCH_COMMON := $(BUILD)/obj/bench/common.o
# The compiler must not know what malloc is: it would leave out pairs that nobody looks at.
BENCH_CFLAGS = $(ALL_CFLAGS) -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free

$(BENCH_COMMON): bench/common.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -MMD -MP -c -o $@ $<

$(addprefix $(BENCH_DIR)/,$(BENCH_NAMES)): $(BENCH_DIR)/%: bench/%.c $(BENCH_COMMON)
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BENCH_COMMON) -lpthread -ldl -lm

$(addprefix $(BENCH_DIR)/,$(BENCH_DAEMON_NAMES)): $(BENCH_DIR)/%: bench/%.c $(BENCH_DAEMON_OBJ) $(BENCH_COMMON) $(BASE_OBJ)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BENCH_DAEMON_OBJ) $(BENCH_COMMON) $(BASE_OBJ) \
	    -lprotobuf-c -lpthread -ldl

$(BENCH_DIR)/strings_map: bench/strings_map.cc $(BENCH_COMMON)
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O2 -g -Wall -Wextra $(SANFLAGS) $(CPPFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BENCH_COMMON) -lpthread -ldl

$(addprefix $(BENCH_DIR)/,measure touch_memory random_mixed): $(BENCH_DIR)/%: bench/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $<

$(BENCH_DIR)/witness.so: bench/witness.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIC -shared -MMD -MP $(LDFLAGS) -o $@ $< -ldl

.PHONY: bench-programs
## make bench-programs  builds the benchmark programs into build/bench
bench-programs: $(BENCH_BIN) $(BENCH_DIR)/witness.so

-include $(wildcard $(BENCH_DIR)/*.d)

# ---- running them ----

BENCH_REPORT := $(BUILD)/report
BENCH_DRIVER  = python3 bench/driver --build $(BUILD) --bench '$(BENCH)' --peers '$(PEERS)' $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: bench bench-quick bench-docs bench-compare profile
## make bench        every workload with every allocator, about 15 minutes; the page is build/report/index.html
bench: all bench-programs
	$(BENCH_DRIVER) --report $(BENCH_REPORT)

## make bench-quick  the same in about 2 minutes, with smaller sizes
bench-quick: all bench-programs
	$(BENCH_DRIVER) --quick --report $(BENCH_REPORT)

## make bench-docs   writes docs/benchmarks.md from the last run
bench-docs:
	python3 bench/driver --render $(BENCH_REPORT) --docs docs/benchmarks.md

## make bench-compare  OLD=results.json NEW=results.json: do the quiet rows of two runs rank alike?
bench-compare:
	python3 bench/driver --compare '$(OLD)' '$(NEW)'

## make profile      the profile hakmem grew out of, with its targets
profile: all bench-programs
	python3 bench/driver/profile.py --build $(BUILD) --report $(BENCH_REPORT)
