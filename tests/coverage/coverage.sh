#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Which lines and branches of src/ the tests execute, with gcc and gcov:
#
#	coverage.sh [TEST]…
#
# in a copy of the project, tests/out/coverage. Prints a table, and leaves FILE.gcov there, where a
# line that was never executed has #####. Scripts that build a library of their own, or link
# statically, are left out. Exit status 1 if a test failed: they are named, and the table has what
# was executed nevertheless.

tests=$(cd "${0%/*}/.." && pwd) || exit 1
top=$tests/.. out=$tests/out/coverage
cc=${COVERAGE_CC:-gcc}
own_builds='sanitize|pages|exports|ltrace|install|build|demo|fuzz|static'

skip() {
	echo "skipped: $1"
	exit 0
}

# libgcov, asking flush.c for memory.
make_libgcov() {
	cp "$("$cc" -print-file-name=libgcov.a)" "$out/libgcov.a" &&
		objcopy --redefine-sym malloc=flush_malloc --redefine-sym calloc=flush_calloc \
			--redefine-sym realloc=flush_realloc --redefine-sym free=flush_free \
			"$out/libgcov.a" &&
		"$cc" -O1 -fPIC -fno-builtin -c -o "$out/flush.o" "$tests/coverage/flush.c"
}

# Programs that are linked with the archive need nothing else: it has all of that, too.
build() {
	mkdir -p "$out/project/tests" "$out/objects" &&
		cp -r "$top/src" "$top/utils" "$top/Makefile" "$top/README.md" "$out/project" &&
		(cd "$tests" && tar cf - --exclude=./bin --exclude=./out .) |
		(cd "$out/project/tests" && tar xf -) &&
		make_libgcov &&
		make -C "$out/project/src" clean &&
		make -C "$out/project/src" CC="$cc" LDFLAGS="$out/flush.o $out/libgcov.a" \
			CFLAGS="-O1 -g --coverage -fprofile-update=atomic" &&
		(cd "$out/objects" && ar x "$out/libgcov.a") &&
		ar r "$out/project/src/libosmem.a" "$out/flush.o" "$out"/objects/*.o
}

# make_tests TARGET [TEST]…
make_tests() {
	target=$1
	shift
	make -s --no-print-directory -C "$out/project/tests" "$target" ${1+"TESTS=$*"}
}

# What run.sh runs.
listed() {
	if [ $# -gt 0 ]; then
		make_tests list "$@"
	else
		make_tests list | tr ' ' '\n' | grep -Ev "$own_builds"
	fi
}

# Some tests run programs as another user, who is to write counts, too.
run_tests() {
	make_tests build "$@" >>"$out/log" 2>&1 || {
		tail "$out/log"
		exit 1
	}
	# shellcheck disable=SC2046 # the tests are words
	(cd "$out/project/tests" && umask 0 && chmod -R a+w ../src &&
		TEST_PATIENCE=10 ./run.sh $(listed "$@")) \
		>"$out/tests"
	status=$?
	grep -E '^FAIL|passed,.*failed' "$out/tests"
	return $status
}

# Of gcov's summary: the figures of each file of src/ and of utils/printf.c, and their sums.
table() {
	LC_ALL=C awk -F"['%]| of |:" '
		function row(name, lines, line_share, branches, branch_share) {
			printf "%-24s %7d %6.1f%% %9d %6.1f%%\n", name, lines, line_share, branches, branch_share
		}
		BEGIN { printf "%-24s %7s %7s %9s %7s\n", "file", "lines", "run", "branches", "taken" }
		/^File / {
			file = $2
			is_ours = sub(/^\.\.\/utils\//, "", file) || sub(/^\.\//, "", file) || file !~ /^[\/.]/
			branches = share = 0
		}
		/^Lines executed/ { lines = $4; line_share = $2 }
		/^Taken at least once/ { branches = $4; share = $2 }
		/^(Creating|No calls|Calls)/ && is_ours && file != "" {
			row(file, lines, line_share, branches, share)
			all_lines += lines; run += lines * line_share / 100
			all_branches += branches; taken += branches * share / 100
			file = ""
		}
		END {
			if (all_lines && all_branches)
				row("all", all_lines, 100 * run / all_lines, all_branches,
					100 * taken / all_branches)
		}'
}

command -v "$cc" >/dev/null || skip "no $cc"
command -v gcov >/dev/null || skip "no gcov"
rm -rf "$out"
mkdir -p "$out"
build >"$out/log" 2>&1 || {
	tail "$out/log"
	exit 1
}
run_tests "$@"
status=$?
cd "$out/project/src" || exit 1
find . -name '*.gcda' -exec gcov -b -c {} + 2>>"$out/log" >"$out/summary" || exit 1
mv ./*.gcov "$out"
table <"$out/summary"
exit $status
