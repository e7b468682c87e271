# hakmem. `make` builds everything into build/; `make help` lists the targets.
#
#   CC=clang      another compiler          SAN=asan|tsan|ubsan|asan+ubsan  a sanitizer build, into build/$(SAN)
#   DEBUG=1       invariants walked, -Og    BUILD=dir            another output folder

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
DEBUG   ?=

BUILD ?= build$(if $(SAN),/$(SAN))$(if $(DEBUG),/debug)

CC       ?= cc
PROTOC_C ?= protoc-c
PKG_CONFIG ?= pkg-config

WARNINGS := -Wall -Wextra -Wundef -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(if $(CI),-Werror)
OPT      := $(if $(DEBUG),-Og -DHAKMEM_DEBUG,-O2)
SANFLAGS_asan  := -fsanitize=address -fno-omit-frame-pointer
SANFLAGS_ubsan := -fsanitize=undefined -fno-sanitize-recover=all
SANFLAGS_tsan  := -fsanitize=thread
SANFLAGS_asan+ubsan := $(SANFLAGS_asan) $(SANFLAGS_ubsan)
SANFLAGS := $(SANFLAGS_$(SAN))

CFLAGS  ?= -g
CPPFLAGS += -D_GNU_SOURCE -DHAKMEM_VERSION='"$(VERSION)"' -I. -I$(BUILD)/proto -Ilibclient
ALL_CFLAGS = -std=gnu11 $(OPT) $(WARNINGS) -fvisibility=hidden $(SANFLAGS) $(CFLAGS) $(CPPFLAGS)

# ---- sources ----

COMMON_SRC := $(wildcard common/*.c)
PROTO_SRC  := $(wildcard proto/*.c)
DAEMON_SRC := $(wildcard hakmemd/*.c)
CLIENT_SRC := $(wildcard libclient/*.c)
CTL_SRC    := $(wildcard hakmemctl/*.c)

PB_C := $(BUILD)/proto/hakmem.pb-c.c
PB_H := $(BUILD)/proto/hakmem.pb-c.h

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
pic = $(patsubst %.c,$(BUILD)/pic/%.o,$(1))

BASE_OBJ   := $(call obj,$(COMMON_SRC) $(PROTO_SRC)) $(BUILD)/obj/proto/hakmem.pb-c.o
BASE_PIC   := $(call pic,$(COMMON_SRC) $(PROTO_SRC)) $(BUILD)/pic/proto/hakmem.pb-c.o
DAEMON_OBJ := $(call obj,$(DAEMON_SRC))
CTL_OBJ    := $(call obj,$(CTL_SRC))
CLIENT_PIC := $(call pic,$(CLIENT_SRC))

DAEMON_LIBS := $(shell $(PKG_CONFIG) --libs libevent libsystemd libprotobuf-c inih 2>/dev/null) -lpthread
CTL_LIBS    := $(shell $(PKG_CONFIG) --libs libprotobuf-c jansson 2>/dev/null) -lncurses
PB_STATIC   := $(shell $(CC) -print-file-name=libprotobuf-c.a)

PROGRAMS := $(BUILD)/hakmemd $(BUILD)/hakmemctl $(BUILD)/libhakmem.so $(BUILD)/libhakmem.a \
            $(BUILD)/bench_random_mixed $(BUILD)/bench_random_mixed_hakmem

.PHONY: all
all: $(PROGRAMS)

# ---- rules ----

$(PB_C) $(PB_H) &: proto/hakmem.proto
	@mkdir -p $(BUILD)/proto
	$(PROTOC_C) --proto_path=proto --c_out=$(BUILD)/proto proto/hakmem.proto

$(BUILD)/obj/%.o: %.c | $(PB_H)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Sections of their own, so that the linker can leave out what nothing in the library calls.
PIC_CFLAGS := -fPIC -ffunction-sections -fdata-sections

# The library must not call what it replaces: -fno-builtin-malloc keeps the compiler from turning malloc+memset into calloc.
$(BUILD)/pic/%.o: %.c | $(PB_H)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(PIC_CFLAGS) -ftls-model=initial-exec -fno-builtin-malloc -MMD -MP -c -o $@ $<

$(BUILD)/obj/proto/hakmem.pb-c.o: $(PB_C)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/pic/proto/hakmem.pb-c.o: $(PB_C)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(PIC_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/hakmemd: $(DAEMON_OBJ) $(BASE_OBJ)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

$(BUILD)/hakmemctl: $(CTL_OBJ) $(BASE_OBJ)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(CTL_LIBS)

# libc alone: protobuf-c is inside, its symbols hidden. (A sanitizer's run time, clang has in the program alone.)
NO_UNDEFINED := $(if $(SAN),,-Wl,--no-undefined)
$(BUILD)/libhakmem.so: $(CLIENT_PIC) $(BASE_PIC) libclient/hakmem.map libclient/tables.ld
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libhakmem.so.0 -Wl,--gc-sections -Wl,-z,noseparate-code -Wl,-z,nodelete -Wl,-z,now \
	    -Wl,--version-script=libclient/hakmem.map -Wl,-T,libclient/tables.ld -Wl,--exclude-libs,ALL $(NO_UNDEFINED) \
	    -o $@ $(CLIENT_PIC) $(BASE_PIC) $(PB_STATIC) -lpthread

# One relocatable object, so that our internals and protobuf-c's cannot collide with the program's.
ARCHIVE_PIC := $(filter-out %/deepbind.o %/seccomp.o,$(CLIENT_PIC)) $(BASE_PIC)
$(BUILD)/libhakmem.a: $(ARCHIVE_PIC)
	@rm -f $@
	ld -r -o $(BUILD)/libhakmem.o $(ARCHIVE_PIC) --whole-archive $(PB_STATIC)
	objcopy --localize-hidden --wildcard --localize-symbol='protobuf_c_*' --localize-symbol='hakmem__*' $(BUILD)/libhakmem.o
	ar rcs $@ $(BUILD)/libhakmem.o

$(BUILD)/bench_random_mixed: bench/random_mixed.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< -lpthread

$(BUILD)/bench_random_mixed_hakmem: bench/random_mixed.c $(BUILD)/libhakmem.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/libhakmem.a -lpthread

include tests/tests.mk
-include bench/bench.mk
-include systemd/install.mk
-include docs/model/model.mk
-include tests/fuzz/fuzz.mk

# ---- upkeep ----

.PHONY: format check-format check-layers clean help
FORMAT_FILES = $(shell git ls-files '*.c' '*.h')
format:
	@clang-format -i $(FORMAT_FILES)

# Other releases lay some lines out otherwise.
check-format:
	@case "$$(clang-format --version 2>/dev/null)" in \
	*" version 14."*) clang-format --dry-run -Werror $(FORMAT_FILES) && echo "as clang-format lays it out" ;; \
	*) echo "no clang-format 14: the layout is not looked at" ;; \
	esac

check-layers:
	@sh tests/check-layers.sh

clean:
	rm -rf build

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

-include $(shell find $(BUILD)/obj $(BUILD)/pic $(BUILD)/tests -name '*.d' 2>/dev/null)
