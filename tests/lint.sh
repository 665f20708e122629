#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Formatting, static analysis, and the rules of this code base that a program can check. Tools that
# are not installed are skipped by name.
#
#	lint.sh [NAME]…     checks whose name has one of these in it; all of them without one

cd "${0%/*}/.." || exit 1
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
passed=0 failed=0 skipped=0
wanted=$*
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

cppflags="-Itests/lib -Itests/model -Itests -Iutils -Isrc -D_GNU_SOURCE"
warnings="-std=gnu11 -fno-builtin -Wall -Wextra -Wundef -Wshadow -Wstrict-prototypes -Wcast-qual"

is_wanted() {
	[ -z "$wanted" ] && return 0
	for want in $wanted; do
		case $1 in
		*"$want"*) return 0 ;;
		esac
	done
	return 1
}

# check NAME COMMAND…: it exits 0; otherwise what it printed is shown.
check() {
	name=$1
	shift
	is_wanted "$name" || return 0
	if "$@" >"$log" 2>&1; then
		passed=$((passed + 1))
		echo "ok lint.$name"
	else
		failed=$((failed + 1))
		echo "FAIL lint.$name:"
		sed 's/^/	/' "$log"
	fi
}

# check_with TOOL NAME COMMAND…: as check, where the tool is installed.
check_with() {
	tool=$1
	shift
	if command -v "$tool" >/dev/null; then
		check "$@"
	elif is_wanted "$1"; then
		skipped=$((skipped + 1))
		echo "skip lint.$1: $tool is not installed"
	fi
}

# files PATTERN…: every file of the project whose name fits one of the patterns.
files() {
	for pattern in "$@"; do
		find src utils tests -name bin -prune -o -name out -prune -o -name "$pattern" \
			-type f -print
	done | sort
}

# none: what comes through standard input is a list of complaints.
none() {
	! grep .
}

# Tools.

format() {
	files '*.[ch]' | xargs clang-format --dry-run -Werror
}

# The files that can be compiled by themselves.
units() {
	files '*.c'
}

compile() {
	# shellcheck disable=SC2016 # xargs appends the file: $1 of the shell that it runs
	units | xargs -P "$jobs" -n 1 sh -c \
		"$1 $cppflags $warnings"' -Werror -O2 -S -o /dev/null "$1"' compile
}

# Do both names mean the same program?
is_same() {
	[ "$(readlink -f "$(command -v "$1")")" = "$(readlink -f "$(command -v "$2")")" ]
}

headers_alone() {
	status=0
	# shellcheck disable=SC2086
	for file in $(files '*.h'); do
		echo "#include \"$PWD/$file\"" |
			cc $cppflags $warnings -Werror -Wno-unused -fsyntax-only -xc - ||
			status=1
	done
	return "$status"
}

# Only the complaints themselves, not the notes on how they came about.
tidy() {
	# shellcheck disable=SC2016,SC2086 # xargs appends the file: $1 of the shell that it runs
	units | xargs -P "$jobs" -n 1 sh -c \
		'clang-tidy --quiet "$1" -- '"$cppflags -std=gnu11"' 2>/dev/null' tidy |
		grep -E ': (error|warning):' | sort -u | none
}

cppcheck_all() {
	# shellcheck disable=SC2086
	cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --error-exitcode=1 -j "$jobs" \
		-D__x86_64__ -D__linux__ $cppflags src utils
}

shell_scripts() {
	files '*.sh' osmem-run | xargs shellcheck -x .ci/run
}

# Rules of the house.

first_lines() {
	for file in $(files '*.[ch]' '*.cc' '*.hh' '*.sh' '*.awk' '*.mk' '*.[1-8]' \
		osmem-run Makefile) Makefile .ci/run; do
		[ -s "$file" ] || continue
		sed 2q "$file" | grep -q 'SPDX-License-Identifier: BSD-3-Clause' ||
			echo "$file: no SPDX line on top"
	done | none
}

top_level() {
	for entry in *; do
		case $entry in
		src | utils | tests | Makefile | README.md | LICENSE) ;;
		*) echo "$entry: does not belong at the top" ;;
		esac
	done | none
}

function_length() {
	# shellcheck disable=SC2016 # the dollars are awk's
	files '*.c' '*.h' | xargs awk '
		FNR == 1 { start = 0 }
		/^[a-zA-Z_].*\(/ { name = $0 }
		/^{/ { start = FNR }
		/^}/ && start {
			if (FNR - start - 1 > 60)
				printf "%s:%d: %d lines: %s\n", FILENAME, start, FNR - start - 1, name
			start = 0
		}' | none
}

# clang-format leaves comments as they are.
line_length() {
	for file in $(files '*.[ch]' '*.cc' '*.hh'); do
		expand "$file" | LC_ALL=C.UTF-8 grep -nE '^.{101}' | sed "s|^|$file:|"
	done | none
}

# The matrix that src/README.md draws: which headers of the project each file may include.
matrix() {
	cat <<-'EOT'
		osmem.c: block_core.h calls.h osmem.h trace.h
		index.c: index.h
		block_regions.c: block_core.h
		block_pointer.c: block_core.h
		block_walk.c: block_core.h
		helpers.c: helpers.h kernel.h printf.h
		kernel.c: elf_symbol.h kernel.h
		lock.c: helpers.h lock.h
		elf_symbol.c: elf_symbol.h
		segment.c: fork.h slab_core.h
		window.c: slab_core.h window.h
		purge.c: slab_core.h
		slab.c: fork.h slab.h slab_core.h
		slab_pages.c: slab_core.h
		slab_check.c: slab_core.h span.h
		slab_walk.c: block_meta.h slab_core.h span.h
		slab_fork.c: slab_core.h span.h
		span.c: slab_core.h span.h
		span_cache.c: span_cache.h
		mapping_table.c: helpers.h mapping_table.h
		mapping.c: block.h mapping.h mapping_core.h span.h
		mapping_kept.c: mapping_core.h span.h
		mapping_guard.c: mapping_core.h span.h trailer.h zero.h
		mapping_core.h: fork.h helpers.h lock.h mapping.h mapping_table.h
		large.c: large.h mapping.h span.h
		magazine.c: magazine.h
		tcache.c: hardened.h large.h tcache_core.h
		tcache_large.c: hardened.h large.h tcache_core.h
		tcache_resize.c: hardened.h large.h tcache_core.h
		hardened.c: hardened.h large.h tcache_core.h trailer.h zero.h
		tcache_check.c: hardened.h mapping.h tcache_core.h
		threads.c: block.h fork.h hardened.h large.h tcache_core.h
		tcache_sweep.c: hardened.h large.h tcache_core.h
		fork.c: fork.h mapping.h tcache_core.h
		trace.c: helpers.h lock.h trace.h
		calls.c: calls.h trace.h
		interpose.c: helpers.h large.h noted.h tcache.h
		new.c: elf_symbol.h helpers.h noted.h tcache.h
		inspect.c: block.h inspect.h large.h lock.h mapping.h slab.h tcache.h trace.h
		text.c: printf.h text.h
		stats.c: calls.h helpers.h inspect.h slab.h tcache.h text.h
		mallinfo.c: inspect.h text.h
		options.c: calls.h helpers.h inspect.h large.h printf.h tcache.h trace.h
		block.h: item_list.h
		block_core.h: block.h block_meta.h helpers.h index.h lock.h pending.h trace.h
		index.h: pairing.h treap.h
		treap.h: links.h
		helpers.h:
		fork.h:
		lock.h:
		links.h: block_meta.h
		pairing.h: links.h
		pending.h: links.h
		kernel.h:
		elf_symbol.h:
		sizeclass.h:
		page_map.h:
		slab.h: helpers.h item_list.h sizeclass.h
		slab_core.h: lock.h page_map.h slab.h span.h window.h
		span.h: page_map.h slab.h
		window.h: page_map.h slab.h
		span_cache.h: span.h
		mapping_table.h:
		mapping.h: item_list.h
		large.h: helpers.h osmem_inspect.h
		magazine.h: slab.h
		tcache.h: magazine.h
		tcache_core.h: lock.h span_cache.h tcache.h
		hardened.h: tcache.h
		trailer.h:
		zero.h:
		trace.h: trace_format.h
		trace_format.h:
		calls.h: trace_format.h
		noted.h: calls.h tcache.h
		inspect.h: helpers.h item_list.h trace_format.h
		item_list.h: osmem_inspect.h
		osmem_inspect.h:
		text.h:
	EOT
}

includes() {
	for file in src/*.[ch]; do
		name=${file##*/}
		if ! allowed=$(matrix | grep "^$name:"); then
			echo "$file: not in the matrix of tests/lint.sh"
			continue
		fi
		# shellcheck disable=SC2013 # a name is a word
		for header in $(sed -n 's/^#include "\(.*\)"/\1/p' "$file"); do
			case "$allowed " in
			*" $header "*) ;;
			*) echo "$file: may not include $header" ;;
			esac
		done
	done | none
}

# code FILE…: FILE:LINE: TEXT without comments.
code() {
	awk '
		FNR == 1 { in_comment = 0 }
		{
			text = $0
			if (in_comment && !sub(/^.*\*\//, "", text))
				next
			in_comment = 0
			gsub(/\/\*[^*]*\*\//, "", text)
			sub(/\/\/.*/, "", text)
			if (sub(/\/\*.*/, "", text))
				in_comment = 1
			print FILENAME ":" FNR ": " text
		}' "$@"
}

# src_without FILE: every file of src/ but this.
src_without() {
	for file in src/*.[ch]; do
		[ "$file" = "src/$1" ] || echo "$file"
	done
}

# calls NAMES: a pattern for calls of these functions, separated by |.
calls() {
	echo "(^|[^A-Za-z0-9_.>])($1) *\\("
}

system_calls() {
	# shellcheck disable=SC2046 # the files are words
	code $(src_without helpers.c | grep -v kernel.c) | grep -E -e '<sys/(mman|syscall)\.h>' \
		-e "$(calls 'mmap|munmap|mremap|madvise|s?brk|write|writev|syscall|getrandom')" | none
}

stdio() {
	# shellcheck disable=SC2046
	code $(src_without mallinfo.c) | grep -E -e '<stdio\.h>' \
		-e "$(calls '(v?[fds]|vsn|sn)?printf|f?puts|fputc|putchar|perror|fwrite|fopen')" | none
}

no_die() {
	code src/*.[ch] | grep -E "$(calls DIE)" | none
}

check_with clang-format format format
is_same cc gcc || check compile_cc compile cc
check_with gcc compile_gcc compile gcc
check_with clang compile_clang compile clang
check headers_alone headers_alone
check_with clang-tidy clang-tidy tidy
check_with cppcheck cppcheck cppcheck_all
check_with shellcheck shellcheck shell_scripts
check first_lines first_lines
check top_level top_level
check function_length function_length
check line_length line_length
check includes includes
check system_calls system_calls
check stdio stdio
check no_die no_die
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
