// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/* Samples where the kernel refuses memory: they are dropped and counted, and malloc succeeds. */

#include <errno.h>

#include "refusals.h"
#include "samples.h"

static size_t dropped_samples(void)
{
	struct sample_stats stats;

	sample_get_stats(&stats);
	return stats.dropped;
}

TEST(no_memory_for_the_tables)
{
	struct sample_info info;
	void *p, *q;

	free(malloc(50));
	sample_start(1);
	refuse(1, SIZE_MAX);
	p = malloc(50);
	CHECK(p && !sample_find(p, &info) && dropped_samples() == 1 && kernel.failures);
	errno = 0;
	CHECK(!sample_each_stack(add_entry, NULL) && errno == ENOMEM);
	refuse_nothing();
	q = malloc(50);
	CHECK(sample_find(q, &info) && dropped_samples() == 1);
	free(p);
	free(q);
	CHECK(estimates().live_bytes.estimate == 0);
}

/* Each call is refused once, in all places. What lives and what does not is right. */
TEST(refused_at_random)
{
	static void *objects[1000];
	struct sample_stats stats;
	struct sample_info info;
	size_t samples = 0, steps = 0;

	test_timeout(120);
	sample_start(1);
	for (uint64_t seed = 1; seed <= 30; seed++) {
		refuse_at_random(300, seed);
		for (size_t i = 0; i < 4 * COUNT_OF(objects); i++) {
			void **p = &objects[steps * 7919 % COUNT_OF(objects)];
			size_t size = 50 + steps++ % 977 * (seed % 7 + 1);

			if (i % 3 == 0) {
				void *q = realloc(*p, size);

				*p = q ? q : *p;
			} else {
				free(*p);
				*p = malloc(size);
			}
			if (*p)
				*(char *)*p = 1;
		}
		refuse_nothing();
		samples = 0;
		for (size_t i = 0; i < COUNT_OF(objects); i++)
			samples += objects[i] && sample_find(objects[i], &info);
		sample_get_stats(&stats);
		CHECK_MSG(stats.live == samples, "%zu live, %zu found", stats.live, samples);
	}
	CHECK(stats.dropped > 0 && samples > 0);
	for (size_t i = 0; i < COUNT_OF(objects); i++)
		free(objects[i]);
	CHECK(estimates().live_bytes.estimate == 0);
	check_all();
}
