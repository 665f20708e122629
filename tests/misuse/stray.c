// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * One stray write, anywhere in a header, behind a block's last byte or in freed memory, and then
 * thousands of calls: they end in order or in a report, never in a fault and never not at all.
 */

#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block_meta.h"
#include "harness.h"
#include "osmem.h"

#define META sizeof(struct block_meta)
#define SLOTS_MAX 400
#define CALLS 3000
#define SECONDS_MAX 20 /* for these */
#define CELL_MAX ((size_t)32768)

struct family {
	void *(*alloc)(size_t size);
	void *(*realloc)(void *p, size_t size);
	void (*free)(void *p);
	size_t (*size)(void);
	size_t behind; /* bytes behind a block's last one that can be written to */
	size_t searched; /* a size for which free blocks are looked for and not found */
	size_t least, most; /* of a hundred writes, how many are reported */
};

static uint64_t state;
static char *slots[SLOTS_MAX];
static size_t sizes[SLOTS_MAX], slot_count;

/* Mostly a small size, and never more than largest. */
static size_t size_up_to(size_t largest)
{
	const size_t most[] = {16, 64, 1000, largest};

	return 1 + random_below(&state, most[random_below(&state, 4)]);
}

static size_t course_size(void)
{
	return size_up_to(8000);
}

static size_t cell_size(void)
{
	return size_up_to(CELL_MAX);
}

static size_t span_size(void)
{
	return CELL_MAX + 1 + random_below(&state, random_below(&state, 4) ? 4000 : 80000);
}

static const struct family course = {
	.alloc = os_malloc,
	.realloc = os_realloc,
	.free = os_free,
	.size = course_size,
	.behind = 80,
	.searched = 125000,
	.least = 50,
	.most = 100,
};

/* Cells have no headers, and nothing in freed ones leads anywhere. */
static const struct family cells = {
	.alloc = malloc,
	.realloc = realloc,
	.free = free,
	.size = cell_size,
	.behind = 16,
	.searched = 1,
	.most = 100,
};

/* Nor have spans: with no cells beside them, there is nothing that a write could hit. */
static const struct family spans = {
	.alloc = malloc,
	.realloc = realloc,
	.free = free,
	.size = span_size,
	.behind = 16,
	.searched = 125000,
};

static void call(const struct family *f)
{
	size_t i = random_below(&state, slot_count), size = f->size();
	char *p;

	if (!slots[i]) {
		CHECK((slots[i] = f->alloc(size)));
		sizes[i] = size;
	} else if (random_below(&state, 6)) {
		f->free(slots[i]);
		slots[i] = NULL;
	} else {
		p = f->realloc(slots[i], size);
		if (!p) /* its status says that it is free: rule 16 */
			return;
		slots[i] = p;
		sizes[i] = size;
	}
}

static void run_calls(const struct family *f, size_t n)
{
	for (size_t i = 0; i < n; i++)
		call(f);
}

/* Where a write can go astray. What is at p, of size bytes, may be freed for it. */
static char *somewhere(const struct family *f, size_t i)
{
	char *p = slots[i];

	switch (random_below(&state, 3)) {
	case 0:
		return p - 1 - random_below(&state, META);
	case 1:
		return p + sizes[i] + random_below(&state, f->behind);
	default:
		f->free(p);
		slots[i] = NULL;
		if (random_below(&state, 2))
			f->alloc(f->searched); /* until then it waits */
		return p - META + random_below(&state, META + 24);
	}
}

static uint64_t something(const char *at)
{
	uint64_t value;

	switch (random_below(&state, 6)) {
	case 0:
		return 0;
	case 1:
		return random_next(&state);
	case 2:
		return (uintptr_t)slots[random_below(&state, slot_count)];
	case 3:
		return (uintptr_t)slots;
	case 4:
		return 0x6161616161616161;
	default:
		memcpy(&value, at, sizeof(value));
		return value ^ UINT64_C(1) << random_below(&state, 64);
	}
}

static void write_astray(void *arg)
{
	static const size_t lengths[] = {1, 2, 4, 8, 8, 8};
	const struct family *f = arg;
	uint64_t value;
	char *at;
	size_t i;

	run_calls(f, 1 + random_below(&state, 300));
	do
		i = random_below(&state, slot_count);
	while (!slots[i]);
	at = somewhere(f, i);
	value = something(at);
	memcpy(at, &value, lengths[random_below(&state, 6)]);
	alarm(SECONDS_MAX);
	run_calls(f, CALLS);
}

static void test_family(const struct family *f, size_t trials)
{
	size_t reported = 0, counts[] = {SLOTS_MAX, SLOTS_MAX / 10};
	char err[256];

	test_timeout(300);
	state = 1;
	for (size_t i = 0; i < 2 * trials; i++) {
		int status;

		slot_count = counts[i / trials];
		if (i % trials == 0)
			run_calls(f, CALLS);
		random_next(&state); /* another one for each child */
		status = test_in_child(write_astray, (void *)(uintptr_t)f, err, sizeof(err));
		CHECK_MSG(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
					  strncmp(err, "osmem: ", 7) == 0),
			  "trial %zu: status %d, %s", i, status, err);
		reported += status != 0;
	}
	CHECK_MSG(reported * 100 >= 2 * trials * f->least && reported * 100 <= 2 * trials * f->most,
		  "%zu of %zu reported", reported, 2 * trials);
}

TEST(stray_writes_os)
{
	test_family(&course, 3000);
}

TEST(stray_writes_cells)
{
	test_family(&cells, 1000);
}

TEST(stray_writes_spans)
{
	test_family(&spans, 500);
}
