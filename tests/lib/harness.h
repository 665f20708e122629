/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The test harness: a test program is a set of TEST() functions and nothing else; main() is in
 * harness.c. Every test runs in a child of its own, so it starts with an untouched heap, and a
 * crash or a hang is a failure of that test alone. The harness never allocates in the child before
 * the test begins.
 *
 *	TEST(rule_05_size_zero)
 *	{
 *		CHECK(os_malloc(0) == NULL);
 *	}
 *
 * Output, one line a test: "ok NAME", "FAIL NAME: why" or "skip NAME: why", and at the end
 * "N passed, N failed, N skipped". The exit status is 1 if anything failed or nothing ran.
 * Arguments are substrings: only tests whose name has one of them run. TEST_LEFT_OUT of the
 * environment has words: a test, folder/program.name, or all of folder/program, that is skipped.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "common.h"

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

void test_register(struct test *t);

/* End the running test as failed or skipped. Callable from forked grandchildren too. */
void test_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
void test_skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/*
 * How many times as long as usual everything may take: TEST_PATIENCE of the environment, for
 * instrumented libraries.
 */
static inline unsigned int test_patience(void)
{
	const char *given = getenv("TEST_PATIENCE");
	int patience = given ? atoi(given) : 1;

	return patience > 1 ? (unsigned int)patience : 1;
}

/* The running test may take this many seconds in all (default 60), times the patience. */
void test_timeout(unsigned int seconds);

/* The number that is in the environment under that name, or another. */
size_t env_number(const char *name, size_t or_else);

/* setrlimit(2); the test is skipped where an emulator ignores it, as qemu-user does for memory. */
void test_limit(int resource, size_t bytes);

/* Skip the running test if the break cannot be raised by so much: an emulator may have no room. */
void need_break(size_t bytes);

/* From now on the process may have that many bytes of address space. */
void limit_addresses(size_t bytes);

/*
 * Run body(arg) in a child and return its wait status; what the child writes to standard error is
 * left in err (size bytes, always terminated).
 */
int test_in_child(void (*body)(void *arg), void *arg, char *err, size_t size);

/*
 * Run this program anew in such a child, with OSMEM_OPTIONS=options, and these arguments behind its
 * name; its standard output counts as standard error.
 */
int test_again(const char *options, char *const argv[], char *said, size_t size);

/*
 * For a constructor: if OSMEM_OPTIONS does not begin with these options, start this program again
 * with them instead.
 */
void test_start_again(const char *options);

/* How a child ended, in words, by its wait status: "it …". Valid until the next call. */
const char *test_ending(int status);

/* body must die by SIGABRT having written exactly the line want (without the newline) to stderr. */
void test_expect_abort(const char *file, int line, void (*body)(void *arg), void *arg,
		       const char *want);

#define TEST(fn)                                                                                   \
	static void test_##fn(void);                                                               \
	static struct test test_entry_##fn = {.name = #fn, .run = test_##fn};                      \
	__attribute__((constructor)) static void test_add_##fn(void)                               \
	{                                                                                          \
		test_register(&test_entry_##fn);                                                   \
	}                                                                                          \
	static void test_##fn(void)

/* A case for both families of functions; the program has a struct family, course and libc. */
#define TEST_BOTH(fn)                                                                              \
	static void fn(const struct family *f);                                                    \
	TEST(fn##_os)                                                                              \
	{                                                                                          \
		fn(&course);                                                                       \
	}                                                                                          \
	TEST(fn##_libc)                                                                            \
	{                                                                                          \
		fn(&libc);                                                                         \
	}                                                                                          \
	static void fn(const struct family *f)

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			test_fail(__FILE__, __LINE__, "%s", #cond);                                \
	} while (0)

/* As CHECK, with a printf-style text that says what was seen. */
#define CHECK_MSG(cond, ...)                                                                       \
	do {                                                                                       \
		if (!(cond))                                                                       \
			test_fail(__FILE__, __LINE__, __VA_ARGS__);                                \
	} while (0)

#define EXPECT_ABORT(body, arg, want) test_expect_abort(__FILE__, __LINE__, body, arg, want)
