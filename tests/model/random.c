// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Random calls against the naive model: the same address for every call, the same header, the same
 * break, the same contents, and at intervals the same list from end to end.
 *
 * A run is a profile, a seed and a number of calls, in a child with an untouched heap. When one
 * differs from the model it is run again with the whole list compared after every call, which gives
 * the shortest prefix that fails; its last calls are printed as C that can be replayed.
 *
 *	OSMEM_MODEL_CALLS	calls of each run (default 100000; there are 3 runs a profile)
 *	OSMEM_MODEL_SEED	the first seed (default 1)
 *	OSMEM_MODEL_LIST	how many calls to list on failure (default 20)
 */

#include "block_meta.h"
#include "compare.h"
#include "harness.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META sizeof(struct block_meta)
#define DEFAULT_CALLS 100000
#define DEFAULT_LIST 20
#define RUNS 3
#define CHECK_INTERVAL 1024
#define REPORT_SIZE (1 << 22)

/* The report of a failed run. */

static int print_call(char *s, size_t size, const struct call *c)
{
	switch (c->kind) {
	case CALL_MALLOC:
		return snprintf(s, size, "p[%d] = os_malloc(%zu);", c->slot, c->size);
	case CALL_CALLOC:
		return snprintf(s, size, "p[%d] = os_calloc(%zu, %zu);", c->slot, c->nmemb,
				c->size);
	case CALL_REALLOC:
		return snprintf(s, size, "p[%d] = os_realloc(p[%d], %zu);", c->slot, c->slot,
				c->size);
	case CALL_SBRK:
		return snprintf(s, size, "sbrk(%zu);", c->size);
	case CALL_REALLOC_FREED:
		if (c->freed_offset)
			return snprintf(s, size, "os_realloc(heap + %#zx, %zu);", c->freed_offset,
					c->size);
		return snprintf(s, size, ";");
	default:
		return snprintf(s, size, "os_free(p[%d]), p[%d] = NULL;", c->slot, c->slot);
	}
}

static int print_want(char *s, size_t size, const struct call *c)
{
	switch (c->want.status) {
	case STATUS_ALLOC:
		return snprintf(s, size, " /* heap + %#zx, size %zu */\n", c->want.offset + META,
				c->want.size);
	case STATUS_MAPPED:
		return snprintf(s, size, " /* mapped, size %zu */\n", c->want.size);
	default:
		return snprintf(s, size, "\n");
	}
}

/* Find the shortest prefix of a plan that failed, and describe it; its length. */
static size_t report(struct plan plan, char *text, size_t size)
{
	size_t failed, first, list = env_number("OSMEM_MODEL_LIST", DEFAULT_LIST);
	int n;

	plan.check_interval = 1;
	failed = compare_run(&plan);
	n = snprintf(text, size,
		     "profile %s, seed %" PRIu64 ": the shortest prefix that fails is %zu calls"
		     " (%s); its end, and what the model wants:\n",
		     plan.profile->name, plan.seed, failed, outcome->why);
	if (list > LOG_SIZE)
		list = LOG_SIZE;
	first = failed > list ? failed - list : 0;
	for (size_t i = first; i < failed && (size_t)n < size - 256; i++) {
		n += snprintf(text + n, size - (size_t)n, "\t");
		n += print_call(text + n, size - (size_t)n, &outcome->log[i % LOG_SIZE]);
		n += print_want(text + n, size - (size_t)n, &outcome->log[i % LOG_SIZE]);
	}
	return failed;
}

static void compare(const char *name)
{
	static char text[REPORT_SIZE];
	struct plan plan = {.profile = profile_named(name), .check_interval = CHECK_INTERVAL};
	uint64_t seed = env_number("OSMEM_MODEL_SEED", 1);

	plan.calls = env_number("OSMEM_MODEL_CALLS", DEFAULT_CALLS) / plan.profile->calls_divisor;
	test_timeout((RUNS + 1) * compare_seconds(plan.calls));
	for (plan.seed = seed; plan.seed < seed + RUNS; plan.seed++) {
		size_t failed = compare_run(&plan);

		if (!failed)
			continue;
		plan.calls = failed;
		failed = report(plan, text, sizeof(text));
		fputs(text, stderr);
		CHECK_MSG(0, "profile %s, seed %" PRIu64 ", call %zu: %s", name, plan.seed, failed,
			  outcome->why);
	}
}

TEST(model_small)
{
	compare("small");
}

TEST(model_tiny)
{
	compare("tiny");
}

TEST(model_mixed)
{
	compare("mixed");
}

TEST(model_page)
{
	compare("page");
}

TEST(model_threshold)
{
	compare("threshold");
}

TEST(model_realloc)
{
	compare("realloc");
}

TEST(model_few)
{
	compare("few");
}

TEST(model_many)
{
	compare("many");
}

TEST(model_regions)
{
	compare("regions");
}

TEST(model_equal)
{
	compare("equal");
}

/* That the comparison can fail: every mistake a model is told to make is found by some profile. */
TEST(model_notices_every_wrong_rule)
{
	struct plan plan = {.seed = 1, .check_interval = CHECK_INTERVAL};

	for (plan.bug = NAIVE_RIGHT + 1; plan.bug < NAIVE_BUGS; plan.bug++) {
		bool is_found = false;

		for (plan.profile = profiles; plan.profile->name && !is_found; plan.profile++) {
			plan.calls = 20000 / plan.profile->calls_divisor;
			is_found = compare_run(&plan) != 0;
		}
		CHECK_MSG(is_found, "naive_bug %d goes unnoticed", (int)plan.bug);
	}
}

/* And that the prefix reported is the shortest: it fails, and one call less does not. */
TEST(model_reports_the_shortest_prefix)
{
	static char text[REPORT_SIZE];
	struct plan plan = {.profile = profile_named("small"),
			    .seed = 1,
			    .bug = NAIVE_FIRST_FIT,
			    .calls = 20000,
			    .check_interval = CHECK_INTERVAL};

	plan.calls = compare_run(&plan);
	CHECK(plan.calls > 1);
	plan.calls = report(plan, text, sizeof(text));
	CHECK(plan.calls > 1);
	CHECK(strstr(text, "profile small, seed 1: the shortest prefix that fails is "));
	CHECK(strstr(text, "os_malloc("));
	plan.check_interval = 1;
	CHECK(compare_run(&plan) == plan.calls);
	plan.calls--;
	CHECK(compare_run(&plan) == 0);
}
