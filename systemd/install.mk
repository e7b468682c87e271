# Installation and the packages that building and testing need. Folders are variables, so that a packager can move them.

EXEC_PREFIX   ?= $(PREFIX)
BINDIR        ?= $(EXEC_PREFIX)/bin
SBINDIR       ?= $(EXEC_PREFIX)/sbin
LIBDIR        ?= $(EXEC_PREFIX)/lib
INCLUDEDIR    ?= $(PREFIX)/include
MANDIR        ?= $(PREFIX)/share/man
PKGCONFIGDIR  ?= $(LIBDIR)/pkgconfig
SYSCONFDIR    ?= /etc
UNITDIR       ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR   ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR   ?= $(PREFIX)/lib/tmpfiles.d

SONAME := libhakmem.so.0
MAN_PAGES := $(wildcard man/*.[1-8])

# hakmemctl looks beside itself first; these are for layouts where that does not lead to the library or the daemon.
$(BUILD)/obj/hakmemctl/locate.o: CPPFLAGS += -DHAKMEM_LIBDIR='"$(LIBDIR)"' -DHAKMEM_SBINDIR='"$(SBINDIR)"'

substitute = sed -e 's,@PREFIX@,$(PREFIX),g' -e 's,@LIBDIR@,$(LIBDIR),g' -e 's,@SBINDIR@,$(SBINDIR),g' \
                 -e 's,@INCLUDEDIR@,$(INCLUDEDIR),g' -e 's,@VERSION@,$(VERSION),g'

.PHONY: install uninstall
## make install      into DESTDIR and PREFIX (/usr/local), with systemd units and man pages
install: $(BUILD)/hakmemd $(BUILD)/hakmemctl $(BUILD)/libhakmem.so $(BUILD)/libhakmem.a
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(SBINDIR) $(LIBDIR) $(INCLUDEDIR) $(PKGCONFIGDIR) \
	    $(UNITDIR) $(SYSUSERSDIR) $(TMPFILESDIR) $(SYSCONFDIR)/hakmem)
	install -m 755 $(BUILD)/hakmemd $(DESTDIR)$(SBINDIR)/hakmemd
	install -m 755 $(BUILD)/hakmemctl $(DESTDIR)$(BINDIR)/hakmemctl
	install -m 755 $(BUILD)/libhakmem.so $(DESTDIR)$(LIBDIR)/libhakmem.so.$(VERSION)
	ln -sf libhakmem.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libhakmem.so
	install -m 644 $(BUILD)/libhakmem.a $(DESTDIR)$(LIBDIR)/libhakmem.a
	install -m 644 libclient/hakmem.h $(DESTDIR)$(INCLUDEDIR)/hakmem.h
	$(substitute) systemd/hakmem.pc.in >$(DESTDIR)$(PKGCONFIGDIR)/hakmem.pc
	$(substitute) systemd/hakmemd.service.in >$(DESTDIR)$(UNITDIR)/hakmemd.service
	install -m 644 systemd/hakmemd.socket $(DESTDIR)$(UNITDIR)/hakmemd.socket
	install -m 644 systemd/hakmem.sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/hakmem.conf
	install -m 644 systemd/hakmem.tmpfiles.conf $(DESTDIR)$(TMPFILESDIR)/hakmem.conf
	@# What the administrator wrote stays.
	test -e $(DESTDIR)$(SYSCONFDIR)/hakmem/hakmemd.conf || \
	    install -m 644 systemd/hakmemd.conf $(DESTDIR)$(SYSCONFDIR)/hakmem/hakmemd.conf
	for page in $(MAN_PAGES); do \
	    install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; done
	@# Into the living system: the linker's cache, the user, the folder, the setting. Never into a DESTDIR.
	if [ -z "$(DESTDIR)" ]; then \
	    ldconfig || true; \
	    if command -v systemd-sysusers >/dev/null; then systemd-sysusers $(SYSUSERSDIR)/hakmem.conf || true; fi; \
	    if command -v systemd-tmpfiles >/dev/null; then \
	        systemd-tmpfiles --create $(TMPFILESDIR)/hakmem.conf || true; fi; \
	    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; \
	fi

## make uninstall    takes away what install put there; the configuration stays
uninstall:
	rm -f $(addprefix $(DESTDIR),$(SBINDIR)/hakmemd $(BINDIR)/hakmemctl $(LIBDIR)/libhakmem.so.$(VERSION) \
	    $(LIBDIR)/$(SONAME) $(LIBDIR)/libhakmem.so $(LIBDIR)/libhakmem.a $(INCLUDEDIR)/hakmem.h \
	    $(PKGCONFIGDIR)/hakmem.pc $(UNITDIR)/hakmemd.service $(UNITDIR)/hakmemd.socket \
	    $(SYSUSERSDIR)/hakmem.conf $(TMPFILESDIR)/hakmem.conf)
	for page in $(MAN_PAGES); do rm -f $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}; done
	if [ -z "$(DESTDIR)" ]; then ldconfig || true; \
	    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; fi

.PHONY: deps deps-bench
## make deps         installs the Debian packages that building and testing need (root or sudo)
deps:
	sh ./quickstart packages build check

## make deps-bench   the same for the benchmarks: the allocators to compare with, gnuplot
deps-bench:
	sh ./quickstart packages build check bench

## make demo         a private daemon, the workload on glibc and on hakmem in turn, what served it, what came back
include bench/demo.mk
