# Tests. A unit test is tests/unit/<folder>/test-*.c: a cmocka program linked with that folder's objects (without main.o,
# override.o and library.o: the test itself runs on the system malloc). A system test is a program tests/system/test-*.c or a script
# tests/system/*.sh, tests/real/*.sh. 0 passed, 77 skipped, anything else failed.

CMOCKA_LIBS := -lcmocka

UNIT_COMMON := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/common/test-*.c tests/unit/proto/test-*.c))
UNIT_DAEMON := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/hakmemd/test-*.c))
UNIT_CLIENT := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/libclient/test-*.c))
SYSTEM_BIN  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/system/test-*.c))
MISUSE_BIN  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/misuse/*.c))
# Programs that a script runs under the library: plain programs, linked with nothing of ours.
PLAIN_BIN   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/system/prog-*.c tests/real/prog-*.c))
SYSTEM_SH   := $(wildcard tests/system/*.sh)
REAL_SH     := $(wildcard tests/real/*.sh)
HARNESS_SRC := $(wildcard tests/system/harness*.c)
HARNESS_OBJ := $(call obj,$(HARNESS_SRC))

DAEMON_TEST_OBJ := $(filter-out %/main.o,$(DAEMON_OBJ))
# Without what replaces malloc and what runs by itself.
CLIENT_TEST_PIC := $(filter-out %/override.o %/library.o %/deepbind.o %/seccomp.o,$(CLIENT_PIC))

$(UNIT_COMMON): $(BUILD)/%: %.c $(BASE_OBJ)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BASE_OBJ) -lprotobuf-c $(CMOCKA_LIBS)

$(UNIT_DAEMON): $(BUILD)/%: %.c $(DAEMON_TEST_OBJ) $(BASE_OBJ)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(DAEMON_TEST_OBJ) $(BASE_OBJ) $(DAEMON_LIBS) $(CMOCKA_LIBS)

$(UNIT_CLIENT): $(BUILD)/%: %.c $(CLIENT_TEST_PIC) $(BASE_PIC)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(CLIENT_TEST_PIC) $(BASE_PIC) -lprotobuf-c -lpthread $(CMOCKA_LIBS)

$(SYSTEM_BIN): $(BUILD)/%: %.c $(HARNESS_OBJ) $(BASE_OBJ)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(HARNESS_OBJ) $(BASE_OBJ) -lprotobuf-c -lpthread $(CMOCKA_LIBS)

$(PLAIN_BIN): $(BUILD)/%: %.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g -w -fno-builtin -MMD -MP -I. -Ilibclient -D_GNU_SOURCE -o $@ $< -lpthread -ldl

# Not optimised: what is wrong must be done, not optimised away.
$(MISUSE_BIN): $(BUILD)/%: %.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O0 -g -w -fno-builtin -D_GNU_SOURCE -o $@ $< -lpthread -ldl

# The storm where ThreadSanitizer sees all of it. That needs its own malloc, and instrumented code around it: so the library is
# linked in, and what it and the storm have of the malloc family is called inside_malloc and so on. malloc-storm.sh runs it.
ifneq ($(filter tsan,$(SAN)),)
STORM_INSIDE := $(BUILD)/tests/system/storm-inside
INSIDE := malloc free calloc realloc reallocarray posix_memalign aligned_alloc memalign valloc pvalloc malloc_usable_size \
          malloc_trim malloc_stats malloc_info mallinfo mallinfo2 mallopt cfree
endif

$(BUILD)/tests/system/storm-inside: tests/system/prog-storm.c $(CLIENT_PIC) $(BASE_PIC)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g -w -fno-builtin $(SANFLAGS) -MMD -MP -MT $@ -MF $@.d -I. -Ilibclient -D_GNU_SOURCE -fPIC -c \
	    -o $@-storm.o $<
	ld -r -o $@.o $@-storm.o $(filter-out %/deepbind.o %/seccomp.o,$(CLIENT_PIC)) $(BASE_PIC)
	objcopy $(foreach name,$(INSIDE),--redefine-sym $(name)=inside_$(name)) $@.o
	$(CC) $(SANFLAGS) $(LDFLAGS) -rdynamic -o $@ $@.o $(PB_STATIC) -lpthread -ldl

# What single scripts would make by themselves, here by all processors: the library that use_debug_library() (lib.sh) wants,
# and the benchmarks.
TESTS_MAKE := $(if $(SAN)$(ONLY),,debug-library bench-programs)

.PHONY: tests check check-unit debug-library
tests: all $(UNIT_COMMON) $(UNIT_DAEMON) $(UNIT_CLIENT) $(SYSTEM_BIN) $(PLAIN_BIN) $(MISUSE_BIN) $(STORM_INSIDE) $(TESTS_MAKE)

debug-library:
	@$(MAKE) --no-print-directory -s DEBUG=1 BUILD=$(BUILD)/debug $(BUILD)/debug/libhakmem.so

## make check        all tests, JOBS at a time (as there are processors); some four minutes on two
check: tests
	@BUILD=$(BUILD) JOBS=$(JOBS) sh tests/run.sh $(REAL_SH) $(SYSTEM_SH) $(SYSTEM_BIN) $(UNIT_CLIENT) $(UNIT_DAEMON) $(UNIT_COMMON)

## make check-unit   the unit tests alone
check-unit: $(UNIT_COMMON) $(UNIT_DAEMON) $(UNIT_CLIENT)
	@BUILD=$(BUILD) JOBS=$(JOBS) sh tests/run.sh $^
