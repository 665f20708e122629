#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Formatting, static analysis, and the rules of this code base that a program can check. Tools that
# are not installed are skipped by name.
#
#	lint.sh [--quick] [NAME]…     checks whose name has one of these in it; all without one
#
# --quick looks only at the files that differ from the commit that this branch and its upstream
# have in common; from HEAD, where there is no upstream.

cd "${0%/*}/.." || exit 1
log=$(mktemp) || exit 1
trap 'rm -f "$log" "$log.files"' EXIT
trap 'exit 1' HUP INT TERM
passed=0 failed=0 skipped=0
changed=
if [ "$1" = --quick ]; then
	shift
	base=$(git merge-base HEAD '@{upstream}' 2>/dev/null || echo HEAD)
	changed=$(git diff --name-only "$base" && git ls-files --others --exclude-standard) || exit 1
	changed=${changed:-none}
fi
wanted=$*
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

cppflags="-Isrc/tools -Itests/lib -Itests/model -Itests -Iutils -Isrc -D_GNU_SOURCE"
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

# files PATTERN…: every file of the project, or every changed one, whose name fits a pattern.
files() {
	for pattern in "$@"; do
		find src utils tests -name bin -prune -o -name out -prune -o -name "$pattern" \
			-type f -print
	done | sort >"$log.files"
	if [ "$changed" ]; then
		echo "$changed" | grep -Fxf "$log.files"
	else
		cat "$log.files"
	fi
}

# none: what comes through standard input is a list of complaints.
none() {
	! grep .
}

# Tools.

format() {
	files '*.[ch]' | xargs -r clang-format --dry-run -Werror
}

# The files that can be compiled by themselves.
units() {
	files '*.c'
}

compile() {
	# shellcheck disable=SC2016 # xargs appends the file: $1 of the shell that it runs
	units | xargs -r -P "$jobs" -n 1 sh -c \
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
	units | xargs -r -P "$jobs" -n 1 sh -c \
		'clang-tidy --quiet "$1" -- '"$cppflags -std=gnu11"' 2>/dev/null' tidy |
		grep -E ': (error|warning):' | sort -u | none
}

cppcheck_all() {
	# shellcheck disable=SC2086 # the flags are words
	files '*.c' | grep -v '^tests/' | xargs -r cppcheck --quiet --std=c11 --language=c \
		--enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --error-exitcode=1 -j "$jobs" \
		-D__x86_64__ -D__linux__ $cppflags
}

shell_scripts() {
	files '*.sh' osmem-run | xargs -r shellcheck -x .ci/run
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
	files '*.[ch]' '*.cc' '*.hh' | xargs -r awk '
		FNR == 1 { start = 0 }
		/^[a-zA-Z_].*\(/ { name = $0 }
		/^{/ { start = FNR }
		/^}/ && start {
			if (FNR - start - 1 > 60)
				printf "%s:%d: %d lines: %s\n", FILENAME, start, FNR - start - 1, name
			start = 0
		}' | none
}

file_length() {
	for file in $(files '*.[ch]' '*.cc' '*.hh' '*.sh' '*.awk' | grep -v '^utils/'); do
		[ "$(wc -l <"$file")" -le 600 ] || echo "$file: more than 600 lines"
	done | none
}

# clang-format leaves comments as they are.
line_length() {
	for file in $(files '*.[ch]' '*.cc' '*.hh'); do
		expand "$file" | LC_ALL=C.UTF-8 grep -nE '^.{101}' | sed "s|^|$file:|"
	done | none
}

# sources PATTERN…: the files of the library, without its tools.
sources() {
	for pattern in "$@"; do
		files "$pattern" | grep '^src/' | grep -v '^src/tools/'
	done
}

# Each wing includes its own headers and those of the wings in its line of tests/wings, but no core
# header of another. Of a wing that is named here, others include this one header only.
public_headers="block/block.h slab/slab.h large/large.h cache/tcache.h"

includes() {
	sources '*.[ch]' | while read -r file; do
		wing=${file#src/}
		case $wing in
		osmem.c) wing=block ;;
		*/*) wing=${wing%/*} ;;
		*) wing=base ;;
		esac
		allowed="$(sed -n "s/^$wing://p" tests/wings) $wing "
		sed -n 's/^#include "\(.*\)"/\1/p' "$file" | while read -r header; do
			from=${header%/*}
			if [ -f "${file%/*}/$header" ] || [ -f "utils/$header" ]; then
				from=$wing
			elif [ "$from" = "$header" ]; then
				from=base
			fi
			case "$from: $public_headers $header" in
			"$wing: "* | *" $header "*) ;;
			*" $from/"*" $header" | *_core.h) from="the inside of $from" ;;
			esac
			case $allowed in
			*" $from "*) ;;
			*) echo "$file: may not include $header, of $from" ;;
			esac
		done
	done | none
}

# The table of src/FILES.md names every file, and no others. A name may be a pattern, such as
# x.[ch]; _x.c stands for the end of one.
table_of_files() {
	# shellcheck disable=SC2016 # the backticks are those of the page
	grep '^|' src/FILES.md | grep -o '`[^`]*\.[a-z[][^`]*`' |
		tr -d '`' | sed 's|.*/||' | sort -u >"$log.files"
	find src -name '*.[ch]' -o -name '*.html' -o -name '*.css' | while read -r file; do
		while read -r pattern; do
			# shellcheck disable=SC2254 # it is one
			case ${file##*/} in
			$pattern) continue 2 ;;
			esac
		done <"$log.files"
		echo "src/FILES.md: the table lacks $file"
	done | none || return
	while read -r pattern; do
		# shellcheck disable=SC2086 # it is a pattern
		case $pattern in
		_*) find src -name "*$pattern" ;;
		*) find src utils -name "$pattern" ;;
		esac | grep -q . || echo "src/FILES.md: there is no $pattern"
	done <"$log.files" | none
}

# code: FILE:LINE: TEXT without comments, of the files that standard input lists.
code() {
	# shellcheck disable=SC2016 # the dollars are awk's
	xargs -r awk '
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
		}'
}

# calls NAMES: a pattern for calls of these functions, separated by |.
calls() {
	echo "(^|[^A-Za-z0-9_.>])($1) *\\("
}

system_calls() {
	sources '*.[ch]' | grep -Ev '^src/(arch|helpers|files|kernel)\.[ch]' | code | grep -E -e '<sys/(mman|syscall)\.h>' \
		-e "$(calls 'mmap|munmap|mremap|madvise|s?brk|write|writev|syscall|getrandom')" | none
}

stdio() {
	sources '*.[ch]' | grep -Ev '^src/(libc/mallinfo|compat)\.c' | code | grep -E -e '<stdio\.h>' \
		-e "$(calls '(v?[fds]|vsn|sn)?printf|f?puts|fputc|putchar|perror|fwrite|fopen')" | none
}

no_die() {
	sources '*.[ch]' | code | grep -E "$(calls DIE)" | none
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
check file_length file_length
check line_length line_length
check includes includes
check table_of_files table_of_files
check system_calls system_calls
check stdio stdio
check no_die no_die
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
