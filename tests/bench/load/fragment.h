/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The classic ways to fragment a heap, as traces of STEPS steps that begin again after a quarter of
 * them. What grows from one quarter to the next grows without end. Used by fragment.c, and by the
 * tests; the same arguments always make the same calls. One thread, but for generations.
 *
 *	lives        one block in sixteen lives long among many that do not
 *	sawtooth     up to all that may live, and down to an eighth in random order
 *	drift        the oldest are replaced by newer ones whose sizes drift from 16 bytes to 4 KiB
 *	survivors    of each 64 KiB of equal blocks one survives the next step
 *	pages        of each 4 KiB of equal blocks one survives the next step
 *	cache        entries come by key, change their sizes, and leave least recently used first
 *	generations  threads end and leave half of their blocks to the next ones
 */

#pragma once

#include <stdbool.h>

#include "load.h"

#define FRAGMENT_STEPS 32
#define FRAGMENT_PERIOD (FRAGMENT_STEPS / 4)
#define FRAGMENT_ROOM ((size_t)1 << 20) /* blocks that live at once, at most */
#define FRAGMENT_THREADS 8

struct fragment_block {
	void *p;
	size_t size;
	uint32_t newer, older; /* of the cache's list */
};

static struct fragment_block fragment_blocks[FRAGMENT_ROOM];
static size_t fragment_target; /* bytes that live at once, about */

/* Free what b has, for size bytes or, if that is 0, nothing. */
static inline void fragment_set(struct fragment_block *b, size_t size)
{
	free(b->p);
	b->p = size ? memset(load_checked(malloc(size)), 1, size) : NULL;
	b->size = size;
}

static inline size_t fragment_live(void)
{
	size_t live = 0;

	for (size_t i = 0; i < FRAGMENT_ROOM; i++)
		live += fragment_blocks[i].size;
	return live;
}

static inline void fragment_lives(unsigned int step, uint64_t *seed)
{
	size_t n = fragment_target / 256;

	(void)step;
	for (size_t i = 0; i < 4 * n; i++) {
		size_t place = i % 16 ? n + i % 1000 : load_below(seed, n);

		fragment_set(&fragment_blocks[place], load_size(seed));
	}
}

static inline void fragment_sawtooth(unsigned int step, uint64_t *seed)
{
	size_t n = fragment_target / 256;

	for (size_t i = 0; i < n; i++) {
		struct fragment_block *b = &fragment_blocks[i];

		if (step % 2 == 0 && !b->p)
			fragment_set(b, load_size(seed));
		else if (step % 2 == 1 && load_below(seed, 8))
			fragment_set(b, 0);
	}
}

static inline void fragment_drift(unsigned int step, uint64_t *seed)
{
	static size_t place, oldest, live; /* a queue */
	size_t least = (size_t)16 << step % FRAGMENT_PERIOD;

	for (size_t done = 0; done < fragment_target; place = (place + 1) % FRAGMENT_ROOM) {
		struct fragment_block *b = &fragment_blocks[place];

		live -= b->size;
		fragment_set(b, load_between(seed, least, 2 * least));
		done += b->size;
		live += b->size;
		for (; live > fragment_target; oldest = (oldest + 1) % FRAGMENT_ROOM) {
			live -= fragment_blocks[oldest].size;
			fragment_set(&fragment_blocks[oldest], 0);
		}
	}
}

/* Blocks of one size, of which one in each span bytes survives to the end of the next step. */
static inline void fragment_survivors_of(unsigned int step, size_t size, size_t span)
{
	size_t n = fragment_target / size;
	struct fragment_block *b = fragment_blocks + FRAGMENT_ROOM / 2 * (step % 2);
	struct fragment_block *old = fragment_blocks + FRAGMENT_ROOM / 2 * (1 - step % 2);

	if (n > FRAGMENT_ROOM / 2)
		n = FRAGMENT_ROOM / 2;
	for (size_t i = 0; i < n; i++)
		fragment_set(&b[i], size);
	for (size_t i = 0; i < n; i++)
		if (i % (span / size))
			fragment_set(&b[i], 0);
	for (size_t i = 0; i < FRAGMENT_ROOM / 2; i++)
		fragment_set(&old[i], 0);
}

static inline void fragment_survivors(unsigned int step, uint64_t *seed)
{
	static const size_t sizes[FRAGMENT_PERIOD] = {48, 3000, 200, 8000, 96, 16000, 700, 1500};

	(void)seed;
	fragment_survivors_of(step, sizes[step % FRAGMENT_PERIOD], 65536);
}

static inline void fragment_pages(unsigned int step, uint64_t *seed)
{
	static const size_t sizes[FRAGMENT_PERIOD] = {48, 1024, 200, 64, 96, 400, 700, 128};

	(void)seed;
	fragment_survivors_of(step, sizes[step % FRAGMENT_PERIOD], 4096);
}

/* The cache's list is a ring; the last block is its head, and what is newer than that is oldest. */
#define FRAGMENT_HEAD ((uint32_t)FRAGMENT_ROOM - 1)

static inline void fragment_unlink(uint32_t i)
{
	struct fragment_block *b = &fragment_blocks[i];

	fragment_blocks[b->newer].older = b->older;
	fragment_blocks[b->older].newer = b->newer;
}

static inline void fragment_link_newest(uint32_t i)
{
	struct fragment_block *head = &fragment_blocks[FRAGMENT_HEAD];

	fragment_blocks[i].newer = FRAGMENT_HEAD;
	fragment_blocks[i].older = head->older;
	fragment_blocks[head->older].newer = i;
	head->older = i;
}

/*
 * Pages of a site, say: some keys are wanted much more often, and sizes differ by the time of day.
 */
static inline void fragment_cache(unsigned int step, uint64_t *seed)
{
	static size_t live;
	struct fragment_block *head = &fragment_blocks[FRAGMENT_HEAD];
	size_t n = fragment_target / 256, scale = 1 + step % FRAGMENT_PERIOD;

	if (!live)
		head->newer = head->older = FRAGMENT_HEAD;
	for (size_t i = 0; i < n; i++) {
		uint32_t key = (uint32_t)load_below(seed, load_below(seed, 4) ? n / 4 : 4 * n);
		struct fragment_block *b = &fragment_blocks[key % FRAGMENT_HEAD];

		if (b->p)
			fragment_unlink(key % FRAGMENT_HEAD);
		if (!b->p || load_below(seed, 10) == 0) {
			live -= b->size;
			fragment_set(b, load_size(seed) * scale);
			live += b->size;
		}
		fragment_link_newest(key % FRAGMENT_HEAD);
		while (live > fragment_target) {
			uint32_t oldest = head->newer;

			fragment_unlink(oldest);
			live -= fragment_blocks[oldest].size;
			fragment_set(&fragment_blocks[oldest], 0);
		}
	}
}

static inline void *fragment_live_a_generation(void *arg)
{
	struct fragment_block *first = (struct fragment_block *)arg;
	size_t n = fragment_target / 256 / FRAGMENT_THREADS;
	uint64_t seed = load_seed((unsigned int)(first - fragment_blocks));

	for (size_t i = 0; i < 3 * n; i++) {
		size_t place = load_below(&seed, n);

		if (first[place].p && load_below(&seed, 2))
			fragment_set(&first[place], 0);
		else
			fragment_set(&first[place], load_size(&seed));
	}
	return NULL;
}

/* Each thread's blocks are another's in the next step. */
static inline void fragment_generations(unsigned int step, uint64_t *seed)
{
	size_t each = FRAGMENT_ROOM / FRAGMENT_THREADS;
	pthread_t threads[FRAGMENT_THREADS];

	(void)seed;
	for (size_t i = 0; i < FRAGMENT_THREADS; i++)
		if (pthread_create(&threads[i], NULL, fragment_live_a_generation,
				   &fragment_blocks[(i + step) % FRAGMENT_THREADS * each]) != 0)
			exit(1);
	for (size_t i = 0; i < FRAGMENT_THREADS; i++)
		pthread_join(threads[i], NULL);
}

struct fragment_trace {
	const char *name;
	void (*step)(unsigned int step, uint64_t *seed);
};

static const struct fragment_trace fragment_traces[] = {
	{"lives", fragment_lives},
	{"sawtooth", fragment_sawtooth},
	{"drift", fragment_drift},
	{"survivors", fragment_survivors},
	{"pages", fragment_pages},
	{"cache", fragment_cache},
	{"generations", fragment_generations},
};

/* The trace of that name, or NULL. */
static inline const struct fragment_trace *fragment_find(const char *name)
{
	for (size_t i = 0; i < sizeof(fragment_traces) / sizeof(fragment_traces[0]); i++)
		if (strcmp(fragment_traces[i].name, name) == 0)
			return &fragment_traces[i];
	return NULL;
}

/* Before anything: target bytes live at once, about; the tables are in memory from now on. */
static inline void fragment_begin(size_t target)
{
	fragment_target = target;
	for (size_t i = 0; i < FRAGMENT_ROOM; i++)
		((volatile struct fragment_block *)fragment_blocks)[i].size = 0;
}
