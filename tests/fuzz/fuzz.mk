# Fuzzers: clang's libFuzzer with ASan and UBSan, on debug builds of the modules. Included by the Makefile in the root; needs
# clang and libclang-rt-*-dev.
#
#   make fuzz-smoke                    each fuzzer for FUZZ_SECONDS (60), beginning with its corpus; with -j2 two at a time
#   make fuzz-smoke FUZZ_SECONDS=600   longer
#   make fuzz                          builds them into $(BUILD)/fuzz/
#
# One alone, for as long as you like, keeping what it finds:
#
#   mkdir -p /tmp/found && build/fuzz/fuzz-packet -jobs=2 /tmp/found tests/fuzz/corpus/packet
#
# A crash leaves crash-* in $(BUILD)/fuzz; `build/fuzz/fuzz-packet crash-…` runs it again. Once mended, put it into
# tests/fuzz/corpus/packet: the smoke runs every file there. To take new finds into the corpus, keep the few that matter:
#
#   build/fuzz/fuzz-packet -merge=1 tests/fuzz/corpus/packet /tmp/found

FUZZ_SECONDS ?= 60
FUZZERS      := packet ledger config malloc
FUZZ_CC      ?= clang
FUZZ_FLAGS   := -std=gnu11 -O1 -g -DHAKMEM_DEBUG -fsanitize=fuzzer-no-link,address,undefined \
                -fno-sanitize-recover=all -fno-omit-frame-pointer $(WARNINGS) $(CPPFLAGS)
# -fPIE programs may have their thread-local storage addressed as the library's is.
FUZZ_CLIENT_FLAGS := -ftls-model=initial-exec -fno-builtin-malloc

fuzz_obj = $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(1))
FUZZ_BASE   := $(call fuzz_obj,$(COMMON_SRC) $(PROTO_SRC)) $(BUILD)/fuzz/obj/hakmem.pb-c.o
FUZZ_DAEMON := $(call fuzz_obj,$(filter-out hakmemd/main.c,$(DAEMON_SRC)))
FUZZ_CLIENT := $(call fuzz_obj,$(CLIENT_SRC))

# The library's malloc under other names: fuzz-malloc calls those, and the sanitizers keep theirs.
FUZZ_RENAMED := malloc free calloc realloc reallocarray aligned_alloc posix_memalign memalign valloc pvalloc \
                malloc_usable_size malloc_trim malloc_stats malloc_info mallinfo mallinfo2 mallopt \
                free_sized free_aligned_sized cfree
$(BUILD)/fuzz/obj/libclient/%.o: libclient/%.c | $(PB_H)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) $(FUZZ_CLIENT_FLAGS) $(foreach name,$(FUZZ_RENAMED),-D$(name)=fuzzed_$(name)) \
	    -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/obj/%.o: %.c | $(PB_H)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/obj/hakmem.pb-c.o: $(PB_C)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/fuzz-packet $(BUILD)/fuzz/fuzz-ledger $(BUILD)/fuzz/fuzz-config: \
    $(BUILD)/fuzz/fuzz-%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz-%.o $(FUZZ_DAEMON) $(FUZZ_BASE)
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(DAEMON_LIBS)

$(BUILD)/fuzz/fuzz-malloc: $(BUILD)/fuzz/obj/tests/fuzz/fuzz-malloc.o $(FUZZ_CLIENT) $(FUZZ_BASE)
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ -lprotobuf-c -lpthread

.PHONY: fuzz fuzz-smoke $(FUZZERS:%=fuzz-smoke-%)
fuzz: $(FUZZERS:%=$(BUILD)/fuzz/fuzz-%)

## make fuzz-smoke   each fuzzer for FUZZ_SECONDS (60)
fuzz-smoke: $(FUZZERS:%=fuzz-smoke-%)

$(FUZZERS:%=fuzz-smoke-%): fuzz-smoke-%: $(BUILD)/fuzz/fuzz-%
	@mkdir -p $(BUILD)/fuzz/found-$*
	@HAKMEM_CONNECT=off $< -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -timeout=20 -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/found-$* tests/fuzz/corpus/$* 2>$(BUILD)/fuzz/$*.log || \
	    { tail -n 40 $(BUILD)/fuzz/$*.log; exit 1; }
	@echo "fuzz-$*, $(FUZZ_SECONDS) s: $$(sed -n 's/stat::number_of_executed_units: *//p' $(BUILD)/fuzz/$*.log) inputs"

-include $(shell find $(BUILD)/fuzz -name '*.d' 2>/dev/null)
