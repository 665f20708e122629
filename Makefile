# SPDX-License-Identifier: BSD-3-Clause
#
# The whole project. Each folder's own Makefile knows how to build what is in it, headers and all;
# this one says in what order. CC, CFLAGS, CPPFLAGS and LDFLAGS reach them from the command line or
# the environment.

include src/version.mk src/quiet.mk

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions

OBJCOPY ?= objcopy

# Where make install writes; the quotes are for the shell.
BIN = "$(DESTDIR)$(BINDIR)"
LIB = "$(DESTDIR)$(LIBDIR)"
INCLUDE = "$(DESTDIR)$(INCLUDEDIR)"
MAN = "$(DESTDIR)$(MANDIR)"
COMPLETION = "$(DESTDIR)$(COMPLETIONDIR)"

LIBRARY = libosmem.so.$(VERSION)
HEADERS = utils/osmem.h utils/block_meta.h $(wildcard src/osmem_*.h)
PAGES1 = $(wildcard src/tools/man/*.1)
PAGES3 = $(wildcard src/tools/man/*.3)
PAGES7 = $(wildcard src/tools/man/*.7)
COMPLETIONS = $(wildcard src/tools/completion/*)
CMAKE_FILES = osmemConfig.cmake osmemConfigVersion.cmake

# $(call named,PAGE): the functions in its section NAME. Each gets a page that leads to it.
named = $(shell sed -n '/^\.SH NAME/,/\\-/{ s/^\.SH.*//; s/\\-.*//; s/,//g; p; }' $(1))

.PHONY: all check check-cross coverage soak fuzz bench bench-musl bench-quick bench-misuse bench-steps bench-production \
	pictures demo lint lint-quick install uninstall clean help

# Targets run one after another (make -j clean all is safe); the jobs go to the folders' own makes.
.NOTPARALLEL:

all:
	$(Q)$(MAKE) $(PARALLEL) -C src
	$(Q)$(MAKE) $(PARALLEL) -C src/tools

# As many jobs as tests run at a time, unless make was given a number.
check check-cross: PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(or $(JOBS),$(shell nproc 2>/dev/null || echo 1)))
check:
	$(Q)$(MAKE) $(PARALLEL) -C src
	$(Q)$(MAKE) $(PARALLEL) -C tests check

check-cross:
	$(Q)$(MAKE) $(PARALLEL) -C src
	$(Q)$(MAKE) -C tests check-cross

soak: all
	@$(MAKE) -s -C tests soak

coverage:
	@$(MAKE) -s -C tests coverage

fuzz:
	@$(MAKE) -s -C tests fuzz

bench bench-quick bench-steps bench-production pictures: all
	$(Q)$(MAKE) -C tests/bench $@

bench-misuse: all
	@$(MAKE) -s -C tests bench-misuse

bench-musl:
	$(Q)$(MAKE) -C tests/bench $@

demo:
	@$(MAKE) -s -C tests/demo demo

lint:
	tests/lint.sh

lint-quick:
	tests/lint.sh --quick

# osmem-run looks for the library at a place that is told from its own folder.
install: all
	$(Q)$(MAKE) -C src $(LIBRARY)
	install -d $(BIN) $(LIB)/pkgconfig $(LIB)/cmake/osmem $(INCLUDE) $(MAN)/man1 $(MAN)/man3 $(MAN)/man7 \
		$(COMPLETION)
	$(OBJCOPY) --only-keep-debug src/$(LIBRARY) $(LIB)/libosmem.so.debug
	cd $(LIB) && $(OBJCOPY) --strip-unneeded --add-gnu-debuglink=libosmem.so.debug \
		"$(CURDIR)/src/$(LIBRARY)" $(LIBRARY)
	ln -sf $(LIBRARY) $(LIB)/$(SONAME)
	ln -sf $(SONAME) $(LIB)/libosmem.so
	install -m 644 src/libosmem.a $(LIB)
	install -m 644 $(HEADERS) $(INCLUDE)
	install -m 644 $(PAGES1) $(MAN)/man1
	install -m 644 $(PAGES3) $(MAN)/man3
	install -m 644 $(PAGES7) $(MAN)/man7
	cd $(MAN)/man3 && $(foreach page,$(PAGES3),$(foreach name,$(call named,$(page)),\
		echo .so man3/$(notdir $(page)) >$(name).3 &&)) :
	install -m 644 $(COMPLETIONS) $(COMPLETION)
	install -m 755 src/tools/heapview $(BIN)
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' src/osmem.pc.in >$(LIB)/pkgconfig/osmem.pc
	include=$$(realpath -ms --relative-to="$(LIBDIR)/cmake/osmem" "$(INCLUDEDIR)") && \
		for file in $(CMAKE_FILES); do \
			sed -e "s|@INCLUDE@|$$include|; s|@SONAME@|$(SONAME)|; s|@VERSION@|$(VERSION)|" \
				-e 's|@MAJOR@|$(firstword $(subst ., ,$(VERSION)))|' src/$$file.in >$(LIB)/cmake/osmem/$$file || exit; \
		done
	library=$$(realpath -ms --relative-to="$(BINDIR)" "$(LIBDIR)")/$(SONAME) && \
		sed "s|^library=.*|library='$$library'|; s|^version=.*|version=$(VERSION)|" src/tools/osmem-run >$(BIN)/osmem-run
	chmod 755 $(BIN)/osmem-run
	@$(update_cache)

# The loader finds libraries through a cache, which only root can update, and only for folders that
# it is configured for. Run where this system is installed to; otherwise said.
update_cache = if [ "$(DESTDIR)" ]; then \
		echo 'Run ldconfig on the system that this is for.'; \
	elif PATH=$$PATH:/sbin:/usr/sbin && [ "$$(id -u)" -eq 0 ] && \
		ldconfig -vNX 2>/dev/null | sed 's/:$$//; s/: (from .*//' | grep -qxF "$(LIBDIR)"; then \
		echo ldconfig && ldconfig; \
	else \
		echo 'Programs that are linked with the library find it when $(LIBDIR) is among the folders of' && \
		echo 'the loader (/etc/ld.so.conf) and root has run ldconfig. osmem-run needs neither.'; \
	fi

# $(call remove,FOLDER,FILES)
remove = if [ -d $(1) ]; then cd $(1) && rm -f $(2); fi

# Folders that are empty then go too, up to DESTDIR or PREFIX, when they are not the system's.
uninstall:
	$(call remove,$(BIN),osmem-run heapview)
	$(call remove,$(LIB),$(LIBRARY) $(SONAME) libosmem.so libosmem.so.debug libosmem.a pkgconfig/osmem.pc \
		$(CMAKE_FILES:%=cmake/osmem/%))
	$(call remove,$(INCLUDE),$(notdir $(HEADERS)))
	$(call remove,$(MAN),$(PAGES1:src/tools/man/%=man1/%) $(PAGES3:src/tools/man/%=man3/%) \
		$(PAGES7:src/tools/man/%=man7/%) \
		$(foreach page,$(PAGES3),$(patsubst %,man3/%.3,$(call named,$(page)))))
	$(call remove,$(COMPLETION),$(notdir $(COMPLETIONS)))
	@$(update_cache) >/dev/null
	@top="$(or $(DESTDIR),$(PREFIX))"; \
	case "$(DESTDIR)$(PREFIX)" in /usr | /usr/local) exit ;; esac; \
	for folder in $(BIN) $(LIB)/pkgconfig $(LIB)/cmake/osmem $(COMPLETION) $(INCLUDE) $(MAN)/man1 $(MAN)/man3 $(MAN)/man7; do \
		(cd "$$top" && rmdir -p "$${folder#"$$top"/}") 2>/dev/null; \
	done; \
	[ "$(DESTDIR)" ] || rmdir "$$top" 2>/dev/null; true

clean:
	$(Q)$(MAKE) -C src clean
	$(Q)$(MAKE) -C tests clean
	$(Q)$(MAKE) -C src/tools clean

help:
	@echo 'make                 build src/libosmem.so, src/libosmem.a and src/tools/heapview'
	@echo 'make check           run the tests; TESTS=slab those of a folder of tests/, TESTS="slab/cells libc/fork"'
	@echo '                     single ones; JOBS=... at a time'
	@echo 'make check-cross     the same for musl, aarch64 and riscv64, with what is installed of musl-tools,'
	@echo '                     cross compilers and qemu-user; TARGETS=musl checks one'
	@echo 'make coverage        lines and branches of src/ that the tests execute; gcc and gcov; TESTS=...'
	@echo 'make soak            random calls from many threads: SECONDS=60 THREADS=8 SEED=... MIB=400'
	@echo 'make fuzz            coverage-guided, with clang: SECONDS=60 for each target'
	@echo 'make bench           compare with other allocators; BENCH=name runs one; PEERS="name=/path/lib.so ..."'
	@echo '                     adds some that are not installed'
	@echo 'make bench-quick     the same in three minutes, smaller and less often'
	@echo 'make bench-misuse    what this and other allocators notice of misuse, as a table'
	@echo 'make bench-steps     what each step from a list walk to this library is worth; STEP=name runs one'
	@echo 'make bench-musl       the load programs under musl, with its malloc and with ours: SCALE=20 ROUNDS=3'
	@echo 'make bench-production  what profile, guard and serve together cost redis-server: ROUNDS=9'
	@echo 'make pictures        draw the pictures of the pages anew'
	@echo 'make demo            the library at work on a real program, then step by step'
	@echo 'make lint            formatting, static analysis and the rules of the house'
	@echo 'make lint-quick      the same for the files that differ from the upstream branch'
	@echo 'make install         to PREFIX ($(PREFIX)), below DESTDIR; also BINDIR, LIBDIR, INCLUDEDIR,'
	@echo '                     MANDIR, COMPLETIONDIR; make uninstall takes it away. As root it runs'
	@echo '                     ldconfig, if the loader looks in LIBDIR'
	@echo 'make clean           remove everything that was built'
	@echo 'make V=1 ...         print whole commands'
