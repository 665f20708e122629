# SPDX-License-Identifier: BSD-3-Clause
#
# The whole project. Each folder's own Makefile knows how to build what is in it, headers and all;
# this one says in what order. CC, CFLAGS, CPPFLAGS and LDFLAGS reach them from the command line or
# the environment.

PREFIX ?= /usr/local
DESTDIR ?=
LIBDIR = $(DESTDIR)$(PREFIX)/lib
INCLUDEDIR = $(DESTDIR)$(PREFIX)/include

LIBRARIES = libosmem.so libosmem.a
HEADERS = osmem.h block_meta.h

.PHONY: all check soak bench bench-quick demo lint install uninstall clean help

# Targets run one after another (make -j clean all is safe); the jobs go to the folders' own makes.
.NOTPARALLEL:

all:
	$(MAKE) -C src

check: all
	$(MAKE) --no-print-directory -C tests check

soak: all
	@$(MAKE) --no-print-directory -s -C tests soak

bench bench-quick: all
	$(MAKE) --no-print-directory -C tests/bench $@

demo:
	@$(MAKE) --no-print-directory -s -C tests/demo demo

lint:
	tests/lint.sh

install: all
	install -d $(LIBDIR) $(INCLUDEDIR)
	install -m 755 src/libosmem.so $(LIBDIR)
	install -m 644 src/libosmem.a $(LIBDIR)
	install -m 644 $(HEADERS:%=utils/%) $(INCLUDEDIR)

# Folders that install made go too, when they are empty and not the system's.
uninstall:
	rm -f $(LIBRARIES:%=$(LIBDIR)/%) $(HEADERS:%=$(INCLUDEDIR)/%)
ifeq ($(filter /usr /usr/local,$(DESTDIR)$(PREFIX)),)
	@cd "$(DESTDIR)/" && rmdir -p $(PREFIX:/%=%)/lib $(PREFIX:/%=%)/include 2>/dev/null || true
endif

clean:
	$(MAKE) -C src clean
	$(MAKE) -C tests clean

help:
	@echo 'make                 build src/libosmem.so and src/libosmem.a'
	@echo 'make check           run the tests; TESTS=... runs some'
	@echo 'make soak            random calls from many threads: SECONDS=60 THREADS=8 SEED=... MIB=400'
	@echo 'make bench           compare with other allocators; BENCH=name runs one'
	@echo 'make bench-quick     the same in three minutes, smaller and less often'
	@echo 'make demo            the library at work on a real program, then step by step'
	@echo 'make lint            formatting, static analysis and the rules of the house'
	@echo 'make install         to PREFIX ($(PREFIX)), below DESTDIR; uninstall takes it away'
	@echo 'make clean           remove everything that was built'
