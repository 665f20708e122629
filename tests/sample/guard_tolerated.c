// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Guarded blocks while misuse is tolerated: wrong calls are reported and do nothing. */

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "cache/tcache.h"
#include "guard_common.h"
#include "helpers.h"

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

static void tolerate(void)
{
	guards_begin();
	CHECK(sys_tolerate_misuse());
	calls_set_mode(CALLS_CHECKED, true);
	tcache_set_mode(TCACHE_TOLERATES, true);
}

/* Lines of reports name a call and its pointer; those of stacks do not. */
static size_t count_reports(const char *text)
{
	size_t n = 0;

	while ((text = strstr(text, "(0x"))) {
		text++;
		n++;
	}
	return n;
}

static void misuse_all(void *arg)
{
	char *p, *q;

	(void)arg;
	tolerate();
	p = guarded(100);
	q = memset(guarded(100), 'x', 100);
	free(p);
	for (int i = 0; i < 50; i++) {
		char *volatile wrong[] = {p, q + 1, q - 1, q + 100};

		for (size_t k = 0; k < COUNT_OF(wrong); k++) {
			free(wrong[k]);
			free_sized(wrong[k], 100);
			errno = 0;
			CHECK(!realloc(wrong[k], 50) && errno == EINVAL);
			CHECK(malloc_usable_size(wrong[k]) == 0);
		}
		free_sized(q, 99);
		free_aligned_sized(q, 32, 100);
	}
	for (size_t i = 0; i < 100; i++)
		CHECK(q[i] == 'x');
	CHECK(malloc_usable_size(q) == 100);
	CHECK(!guard_check());
	free(q);
	CHECK(guarded(10)); /* no report is going on */
}

TEST(wrong_calls_do_nothing)
{
	static char said[1 << 18];
	int status = test_in_child(misuse_all, NULL, said, sizeof(said));

	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it %s: %.500s",
		  test_ending(status), said);
	CHECK_MSG(count_reports(said) == 6, "%zu reports: %.500s", count_reports(said), said);
}

static void overflow(void *arg)
{
	char *p;

	(void)arg;
	tolerate();
	p = guarded_at(true, 24);
	p[25] = 1;
	free(p);
}

TEST(damage_is_fatal)
{
	char said[4096];
	int status = test_in_child(overflow, NULL, said, sizeof(said));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "it %s: %.500s",
		  test_ending(status), said);
	CHECK(strstr(said, "byte 2 behind this block of 24 bytes is overwritten"));
}
