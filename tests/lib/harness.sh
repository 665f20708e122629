#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# The tests' own harness: a failure says what was expected and what was seen, and the last line of
# make check is that of the tests.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}

# says LINE COMMAND…: the line is among what it prints.
says() {
	line=$1
	shift
	"$@" >"$scratch/said" 2>&1
	cat "$scratch/said"
	grep -q -x -F "$line" "$scratch/said"
}

# A program of the harness with one test of this body.
program() {
	cat >"$scratch/program.c" <<-EOT
		#include <signal.h>
		#include <stdio.h>
		#include <unistd.h>
		#include "harness.h"
		static void body(void *arg)
		{
			$1
			(void)arg;
		}
		TEST(it)
		{
			$2
		}
	EOT
	"$cc" -std=gnu11 -D_GNU_SOURCE -I"$tests/lib" -o "$scratch/program" "$scratch/program.c" \
		"$tests/lib/harness.c"
}

abort_expected() {
	program "$1" "EXPECT_ABORT(body, NULL, \"a word\");" &&
		says "FAIL ${scratch##*/}/program.it: program.c:12: expected death by SIGABRT with \"a word\", but it $2" \
			"$scratch/program"
}

an_exit_instead_of_an_abort() {
	abort_expected "_exit(0);" "exited with status 0 and said nothing"
}

another_signal() {
	abort_expected "raise(SIGSEGV);" "died by SIGSEGV and said nothing"
}

another_word() {
	abort_expected "fputs(\"no word\\n\", stderr); raise(SIGABRT);" \
		"died by SIGABRT and said \"no word\""
}

what_is_expected_passes() {
	program "fputs(\"a word\\n\", stderr); raise(SIGABRT);" \
		"EXPECT_ABORT(body, NULL, \"a word\");" && says "ok ${scratch##*/}/program.it" "$scratch/program"
}

a_death() {
	program "" "raise(SIGKILL); body(NULL);" &&
		says "FAIL ${scratch##*/}/program.it: expected to return, but it died by SIGKILL" "$scratch/program"
}

an_exit() {
	program "" "body(NULL); _exit(3);" &&
		says "FAIL ${scratch##*/}/program.it: expected to return, but it exited with status 3" "$scratch/program"
}

# script NAME BODY: that prints it, as a test program that run.sh runs.
script() {
	printf '#!/bin/sh\n%s\n' "$2" >"$scratch/$1" && chmod +x "$scratch/$1"
}

no_counts() {
	script silent "exit 0" &&
		says "FAIL $scratch/silent: expected a closing line with counts, but it ended with exit status 0 and no such line" \
			"$tests/run.sh" "$scratch/silent"
}

a_status_without_a_failure() {
	script odd "echo '1 passed, 0 failed'; exit 7" &&
		says "FAIL $scratch/odd: expected exit status 0, as no test failed, but it ended with exit status 7" \
			"$tests/run.sh" "$scratch/odd"
}

# As the commands of a fresh tree would be.
make_removes_nothing_afterwards() {
	mkdir "$scratch/tree" && (cd "$tests/.." && tar cf - --exclude=bin --exclude=out \
		--exclude='*.[oda]' --exclude='*.so*' Makefile src utils tests) | tar xf - -C "$scratch/tree" &&
		env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u SRC_PATH -u UTILS_PATH \
			make -n -C "$scratch/tree/tests" check >"$scratch/commands" || return 1
	grep -v -e '^make' "$scratch/commands" | tail -n 1 | grep run.sh
}

if ! has "$cc"; then
	skip programs "no $cc"
	finish
fi
for test in an_exit_instead_of_an_abort another_signal another_word what_is_expected_passes a_death an_exit \
	no_counts a_status_without_a_failure; do
	expect "$test" "$test"
done
if has make tar && [ -f "$tests/../src/Makefile" ]; then
	expect make_removes_nothing_afterwards make_removes_nothing_afterwards
else
	skip make_removes_nothing_afterwards "no make, no tar or no sources"
fi
finish
