// SPDX-License-Identifier: BSD-3-Clause

#include "compare.h"

#include <string.h>

/* Which call comes next. */

static size_t random_nmemb(struct run *run, size_t size)
{
	size_t nmemb = below(run, 4) + 1;

	return size >= nmemb ? nmemb : 1;
}

/* Half of the sizes are near what there is, 0 included: there the rules have their edges. */
static size_t realloc_size(struct run *run, const struct slot *s)
{
	size_t low = s->b->size > 128 ? s->b->size - 128 : 0;

	if (is_chance(run, 50))
		return run->plan->profile->size(run);
	return low + below(run, 256);
}

static void next_for_occupied(struct run *run, struct call *call)
{
	call->kind = CALL_FREE;
	if (is_chance(run, run->plan->profile->realloc_percent)) {
		call->kind = CALL_REALLOC;
		call->size = realloc_size(run, &run->slots[call->slot]);
	}
}

static void next_for_empty(struct run *run, struct call *call)
{
	call->size = is_chance(run, 1) ? 0 : run->plan->profile->size(run);
	call->kind = is_chance(run, 5) ? CALL_REALLOC : CALL_MALLOC;
	if (is_chance(run, run->plan->profile->calloc_percent)) {
		call->kind = CALL_CALLOC;
		call->nmemb = is_chance(run, 1) ? 0 : random_nmemb(run, call->size);
		call->size /= call->nmemb ? call->nmemb : 1;
	}
}

/* Long waves: slots are filled rather than emptied for a while, then the other way round. */
static void next_random(struct run *run, struct call *call)
{
	size_t slots = (size_t)run->plan->profile->slots;
	bool is_rising = outcome->calls / (2 * slots) % 2 == 0;

	call->slot = (int)below(run, slots);
	if (is_occupied(run, call->slot) == is_rising)
		call->slot = (int)below(run, slots);
	if (is_chance(run, 2)) {
		call->kind = CALL_REALLOC_FREED;
		call->size = run->plan->profile->size(run);
	} else if (is_occupied(run, call->slot)) {
		next_for_occupied(run, call);
	} else {
		next_for_empty(run, call);
	}
}

/* A program that also calls sbrk; in a heap so small that the break is exact. */
static void next_with_sbrk(struct run *run, struct call *call)
{
	if (is_chance(run, 2) && run->model.end < 512 * 1024) {
		call->kind = CALL_SBRK;
		call->size = 8 * (1 + below(run, 8));
	} else {
		next_random(run, call);
	}
}

/* The slot that is freed at step j of a drain; the order changes from round to round. */
static int drain_order(size_t round, size_t j, size_t slots)
{
	switch (round % 4) {
	case 0:
		return (int)j;
	case 1:
		return (int)(slots - 1 - j);
	case 2:
		return (int)(j / 2 * 2); /* every second, and the others stay */
	default:
		return (int)((j * 277 + round) % slots);
	}
}

/* Fill all slots with blocks of one size, then free them in some order, and again. */
static void next_sweep(struct run *run, struct call *call)
{
	static const size_t sizes[] = {64, 24, 200, 8, 1000, 40};
	size_t slots = (size_t)run->plan->profile->slots;

	do {
		size_t round = run->step / (2 * slots), k = run->step % (2 * slots);

		run->step++;
		call->kind = k < slots ? CALL_MALLOC : CALL_FREE;
		call->slot = k < slots ? (int)k : drain_order(round, k - slots, slots);
		call->size = sizes[(round / 4 + run->plan->seed) % 6];
	} while (is_occupied(run, call->slot) == (call->kind == CALL_MALLOC));
}

static size_t size_small(struct run *run)
{
	return below(run, 512) + 1;
}

static size_t size_tiny(struct run *run)
{
	return below(run, 16) + 1;
}

/* Log-uniform from 1 to 300 KiB. */
static size_t size_mixed(struct run *run)
{
	size_t top = (size_t)1 << below(run, 19);

	return (top + below(run, top)) % (300 * 1024) + 1;
}

static size_t size_page(struct run *run)
{
	return is_chance(run, 30) ? size_small(run) : run->model.page_size - 100 + below(run, 120);
}

static size_t size_threshold(struct run *run)
{
	return is_chance(run, 50) ? below(run, 60000) + 1 : 131072 - 100 + below(run, 120);
}

static size_t size_many(struct run *run)
{
	return below(run, 5000) + 1;
}

static size_t size_regions(struct run *run)
{
	return below(run, is_chance(run, 80) ? 1000 : 8000) + 1;
}

static size_t size_realloc(struct run *run)
{
	return below(run, is_chance(run, 90) ? 2000 : 50000) + 1;
}

const struct profile profiles[] = {
	{
		.name = "small",
		.slots = 1000,
		.calls_divisor = 1,
		.realloc_percent = 20,
		.calloc_percent = 20,
		.size = size_small,
		.next = next_random,
	},
	{
		.name = "tiny",
		.slots = 1000,
		.calls_divisor = 1,
		.realloc_percent = 20,
		.calloc_percent = 20,
		.size = size_tiny,
		.next = next_random,
	},
	{
		.name = "mixed",
		.slots = 500,
		.calls_divisor = 1,
		.realloc_percent = 20,
		.calloc_percent = 20,
		.size = size_mixed,
		.next = next_random,
	},
	{
		.name = "page",
		.slots = 200,
		.calls_divisor = 1,
		.realloc_percent = 30,
		.calloc_percent = 60,
		.size = size_page,
		.next = next_random,
	},
	{
		.name = "threshold",
		.slots = 60,
		.calls_divisor = 8, /* its copies cost page faults */
		.realloc_percent = 40,
		.calloc_percent = 10,
		.size = size_threshold,
		.next = next_random,
	},
	{
		.name = "realloc",
		.slots = 200,
		.calls_divisor = 1,
		.realloc_percent = 80,
		.calloc_percent = 10,
		.size = size_realloc,
		.next = next_random,
	},
	{
		.name = "few",
		.slots = 12,
		.calls_divisor = 1,
		.realloc_percent = 70,
		.calloc_percent = 10,
		.size = size_small,
		.next = next_random,
	},
	{
		.name = "many",
		.slots = 8000,
		.calls_divisor = 4,
		.realloc_percent = 20,
		.calloc_percent = 10,
		.size = size_many,
		.next = next_random,
	},
	{
		.name = "regions",
		.slots = 100,
		.calls_divisor = 1,
		.realloc_percent = 40,
		.calloc_percent = 10,
		.size = size_regions,
		.next = next_with_sbrk,
	},
	{
		.name = "equal",
		.slots = 800,
		.calls_divisor = 1,
		.next = next_sweep,
	},
	{0},
};

const struct profile *profile_named(const char *name)
{
	const struct profile *p = profiles;

	while (p->name && strcmp(p->name, name) != 0)
		p++;
	return p->name ? p : NULL;
}
