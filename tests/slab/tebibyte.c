// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Small objects stay cells however many addresses they fill, and what the store notes of them is
 * little. Cells of 4 KiB fill a tebibyte, if the environment has BIG=1. Otherwise 200 GiB of
 * addresses have some cells everywhere, and spans between them. That is more than one window.
 *
 * The memory of the cells is not touched, or given back at once. So most are of the library's own
 * class: the store writes nothing into these. One slab of each segment has cells of users.
 */

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "harness.h"
#include "memory.h"
#include "places.h"
#include "slab/slab_core.h"

#define CELL ((size_t)4096)
#define PER_SLAB (SLAB_SIZE / CELL)
#define SLABS (SEGMENT_SLOTS - 1) /* of a segment */
#define METADATA_MAX (12 * KIB + 256) /* of a segment, with the page table of its header */
#define SEGMENTS_MAX ((size_t)1 << 18)

static char **users; /* one slab of users in each segment */
static size_t filled;

static bool is_big(void)
{
	return getenv("BIG");
}

/* In memory, with the page tables. */
static size_t used_bytes(void)
{
	return status_bytes("\nVmRSS:") + status_bytes("\nVmPTE:");
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned int user_class(void)
{
	return class_of_size(CELL);
}

static bool take(unsigned int class, void **cells, size_t n)
{
	size_t taken = 0, more = 1;

	slab_enter(class);
	for (; taken < n && more; taken += more)
		more = slab_take_locked(class, 0, cells + taken, (unsigned int)(n - taken), NULL);
	slab_leave(class);
	return taken == n;
}

static void give(unsigned int class, void *const *cells, size_t n)
{
	slab_enter(class);
	slab_give_locked(class, cells, (unsigned int)n);
	slab_leave(class);
}

/* Spans for all but three slots, unless the cells have to be many. Returns slots. */
static size_t take_spans(void)
{
	bool fresh;

	if (is_big() || !span_alloc(2 * MIB, 1, &fresh) || !span_alloc(7 * MIB / 4, 1, &fresh))
		return 0;
	return 15 * MIB / 4 / SLAB_SIZE;
}

/* False if there is no memory for a segment. */
static bool fill_segment(void)
{
	static void *own[SLABS * PER_SLAB];
	void *cells[PER_SLAB];

	if (!take(user_class(), cells, PER_SLAB))
		return false;
	users[filled++] = cells[0];
	/* As if they had never been touched. */
	CHECK(madvise(cells[0], SLAB_SIZE, MADV_DONTNEED) == 0);
	return take(CLASS_OWN_4096, own, (SLABS - 1 - take_spans()) * PER_SLAB);
}

/* Fill segments, up to n. The rest of the process needs another one. */
static void fill(size_t n)
{
	users = mmap(NULL, SEGMENTS_MAX * sizeof(*users), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(users != MAP_FAILED && n <= SEGMENTS_MAX);
	slab_init();
	while (filled < n && fill_segment())
		;
}

static void check_cells(const char *slab)
{
	for (size_t i = 0; i < PER_SLAB; i++) {
		const char *p = slab + i * CELL;
		struct cell_ref cell = slab_find(p);

		CHECK(cell.state == CELL_LIVE && cell.start == p && cell.class == user_class());
		CHECK(slab_class_of(p) == user_class() && !slab_class_of(p + 100));
		CHECK(slab_find(p + 100).state == CELL_INSIDE);
	}
}

static void give_slab(struct segment *g, unsigned int slot)
{
	unsigned int class = g->slabs[slot].class;
	void *cells[PER_SLAB];

	for (size_t i = 0; i < PER_SLAB; i++) {
		cells[i] = (char *)g + slot * SLAB_SIZE + i * CELL;
		if (class == user_class())
			*cell_word(cells[i]) = CELL_FREED;
	}
	give(class, cells, PER_SLAB);
}

/* In a segment that fill has filled, but for a slab that others have a part of. */
static void empty_segment(struct segment *g)
{
	for (size_t page = SLOT_PAGES; page < MAP_PAGES; page++)
		if (g->spans[page])
			span_free((char *)g + page * PAGE_BYTES);
	for (unsigned int slot = 1; slot < SEGMENT_SLOTS; slot++)
		if (g->cells >> slot & 1)
			give_slab(g, slot);
}

static void empty_all(void)
{
	for (size_t i = 0; i < filled; i++) {
		check_cells(users[i]);
		empty_segment(segment_of(users[i]));
		if (i % 4096 == 0)
			slab_trim();
	}
	slab_trim();
	CHECK_MSG(slab_store.segments == 1, "%zu segments remain", slab_store.segments);
}

static size_t count_windows(void)
{
	size_t n = 0;

	for (const struct window *w = window_first(); w; w = w->next)
		n++;
	return n;
}

static void report(const char *what, double seconds, size_t bytes)
{
	if (is_big())
		printf("%s: %.1f s, %zu MiB of metadata for %zu GiB, %zu KiB for one\n", what,
		       seconds, bytes / MIB, filled / 256, bytes / KIB / (filled / 256));
}

TEST(cells_in_many_windows)
{
	size_t n = (is_big() ? 1024 : 200) * GIB / SEGMENT_SIZE, before, bytes;
	double start = cpu_seconds();

	if (available_bytes() < 2 * n * METADATA_MAX)
		test_skip("less than %zu MiB of memory are available", 2 * n * METADATA_MAX / MIB);
	test_timeout(900);
	before = used_bytes();
	fill(n);
	bytes = used_bytes() - before;
	CHECK(filled == n && slab_store.segments >= n && count_windows() >= (is_big() ? 8 : 2));
	report("taken", cpu_seconds() - start, bytes);
	CHECK_MSG(bytes < n * METADATA_MAX, "%zu KiB for each GiB", bytes / KIB / (n / 256));
	start = cpu_seconds();
	empty_all();
	bytes = used_bytes() - before;
	report("given back", cpu_seconds() - start, bytes);
	/* What remains are the page maps, and this table. */
	CHECK_MSG(bytes < n * 256 + MIB, "%zu KiB remain", bytes / KIB);
}
