// SPDX-License-Identifier: BSD-3-Clause

/*
 * What is verified while all threads stand still.
 *
 * Memory. Pages that a live object has a byte on are needed, and no more than an allowance may be
 * resident beyond them once malloc_trim has been called. Before that, after a time of light
 * activity, what is not given back by itself is needed, too: the slab that a small object is in,
 * and up to 16 KiB on both sides of a large one. The course's heap never shrinks: all of it is
 * needed, and it may be three times its peak of live bytes.
 */

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block_core.h"
#include "cache/tcache.h"
#include "large/large_core.h"
#include "sample/guard.h"
#include "slab/slab.h"
#include "soak.h"

#define PAGE ((uintptr_t)4096)
#define SET_SIZE ((size_t)1 << 20) /* pages, more than there can be of 400 MiB and what is around */
#define HOLE ((uintptr_t)16384) /* free bytes between large blocks that stay */
#define ALLOWED (8 * MIB)
#define ALLOWED_PER_THREAD MIB /* stacks, caches */
#define COURSE_ALLOWED (4 * MIB)

struct quiet_figures quiet_figures;

static size_t base_resident, base_blocks, peak_course;

/* Anonymous memory that is resident, exactly: /proc/self/statm is not. */
static size_t resident(void)
{
	char text[4096] = "";
	int fd = open("/proc/self/smaps_rollup", O_RDONLY);
	const char *line;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		finding("/proc/self/smaps_rollup cannot be read");
	close(fd);
	line = strstr(text, "\nAnonymous:");
	if (!line)
		finding("/proc/self/smaps_rollup has no figure of anonymous memory");
	return strtoul(line + strlen("\nAnonymous:"), NULL, 10) * KIB;
}

/* Every object of all. */
static void for_each(void (*visit)(const struct object *o, void *arg), void *arg)
{
	for (unsigned int i = 0; i < soak.threads; i++)
		for (size_t j = 0; j < soak.seats[i].count; j++)
			visit(&soak.seats[i].objects[j], arg);
	for (size_t i = 0; i < BOXES; i++)
		if (soak.boxes[i].is_full)
			visit(&soak.boxes[i].object, arg);
}

/* Pages that are needed: a set with open addressing. */

struct page_set {
	uintptr_t *pages;
	size_t count;
	bool is_light; /* before malloc_trim */
};

static void add_page(struct page_set *set, uintptr_t page)
{
	size_t i = (page / PAGE * 0x9e3779b97f4a7c15u) >> 44;

	while (set->pages[i] && set->pages[i] != page)
		i = (i + 1) % SET_SIZE;
	if (set->pages[i])
		return;
	set->pages[i] = page;
	if (++set->count > SET_SIZE / 8 * 7)
		finding("the soak's own set of pages is full");
}

static void widen(const struct object *o, uintptr_t *start, uintptr_t *end)
{
	unsigned int class = slab_class_of(o->p);
	uintptr_t unit =
		class && slab_classes[class].size > SLAB_CELL_MAX ? 4 * SLAB_SIZE : SLAB_SIZE;

	if (class) {
		*start &= -unit;
		*end = (*end + unit - 1) & -unit;
	} else {
		*start -= HOLE;
		*end += HOLE;
	}
}

static void add_object(const struct object *o, void *arg)
{
	struct page_set *set = arg;
	uintptr_t start = (uintptr_t)o->p;
	uintptr_t end = (uintptr_t)o->p + o->size + 1;

	if (!o->p || object_family(o) == FAMILY_COURSE)
		return;
	if (set->is_light)
		widen(o, &start, &end);
	for (uintptr_t page = start & -PAGE; page < end; page += PAGE)
		add_page(set, page);
}

static size_t needed_bytes(bool is_light)
{
	size_t size = SET_SIZE * sizeof(uintptr_t);
	struct page_set set = {.is_light = is_light};

	set.pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (set.pages == MAP_FAILED)
		finding("no memory for the soak's own set of pages");
	for_each(add_object, &set);
	munmap(set.pages, size);
	return set.count * PAGE;
}

/* Resident bytes of whole pages from start on. */
static size_t resident_of(const char *start, const char *end)
{
	static unsigned char pages[4096];
	size_t count = 0;

	for (uintptr_t at = (uintptr_t)start & -PAGE; at < (uintptr_t)end;
	     at += sizeof(pages) * PAGE) {
		size_t n = ((uintptr_t)end - at + PAGE - 1) / PAGE;

		if (n > sizeof(pages))
			n = sizeof(pages);
		if (mincore((void *)at, n * PAGE, pages))
			finding("mincore fails on the course's heap");
		while (n-- > 0)
			count += pages[n] & 1;
	}
	return count * PAGE;
}

/* What the course's heap has of memory. Nobody else is in it now. */
static size_t course_bytes(void)
{
	size_t bytes = course.stats.mapped_bytes;

	for (size_t i = 0; i < course.region_count; i++)
		bytes += resident_of(block_regions[i].start, block_regions[i].limit);
	return bytes;
}

/* What is resident beyond what is needed; more than is allowed is a finding. */
static size_t check_resident(const char *when, bool is_light)
{
	size_t is = resident(), needed = needed_bytes(is_light), courses = course_bytes();
	size_t due = base_resident + courses + needed;
	size_t allowed = ALLOWED + soak.threads * ALLOWED_PER_THREAD + needed / 20;

	if (soak.is_hardened) /* guard pages, and what waits for its reuse */
		allowed += 32 * MIB + needed;
	if (is > quiet_figures.peak_resident)
		quiet_figures.peak_resident = is;
	if (is > due + allowed)
		finding("%s, %zu KiB are resident: %zu more than objects need (%zu of %zu), the "
			"course's heap (%zu), the soak itself (%zu) and what is allowed (%zu)",
			when, is / KIB, (is - due - allowed) / KIB, needed / KIB,
			live_bytes() / KIB, courses / KIB, base_resident / KIB, allowed / KIB);
	return is > due ? is - due : 0;
}

static void check_course_size(void)
{
	struct osmem_heap_stats s;

	block_get_stats(&s);
	if (s.peak_bytes > peak_course)
		peak_course = s.peak_bytes;
	if (s.region_bytes + s.ahead_bytes > 3 * peak_course + COURSE_ALLOWED)
		finding("the course's heap has %zu KiB, and never had more than %zu live",
			(s.region_bytes + s.ahead_bytes) / KIB, peak_course / KIB);
}

/* How many objects there are, and how many the library thinks there are. */

struct counts {
	size_t course, others;
};

static void count_object(const struct object *o, void *arg)
{
	struct counts *counts = arg;

	if (!o->p)
		return;
	if (object_family(o) == FAMILY_COURSE)
		counts->course++;
	else
		counts->others++;
}

static size_t course_blocks(void)
{
	struct osmem_heap_stats s;

	block_get_stats(&s);
	return s.live_blocks + s.mapped_blocks;
}

static size_t libc_blocks(void)
{
	struct osmem_cell_stats store;
	struct tcache_stats cached;
	struct mapping_stats mappings;
	struct span_stats spans;
	struct guard_stats guarded;

	slab_get_stats(&store);
	tcache_get_stats(&cached);
	mapping_get_stats(&mappings);
	span_get_stats(&spans);
	guard_get_stats(&guarded);
	return spans.spans - cached.spans + mappings.count + guarded.blocks + store.live -
	       cached.cached_cells;
}

/* The C library has some of its own: streams, thread-specific data. */
static void check_counts(void)
{
	struct counts mine = {0};
	size_t courses = course_blocks(), others = libc_blocks();
	size_t libcs = base_blocks + 64 + 16 * (size_t)soak.threads;

	for_each(count_object, &mine);
	if (courses != mine.course)
		finding("the course's heap has %zu live blocks, not %zu", courses, mine.course);
	if (soak.is_hardened) /* what waits for its reuse may count as live */
		return;
	if (others < mine.others || others > mine.others + libcs)
		finding("%zu blocks of malloc and its relatives are live, not %zu to %zu", others,
			mine.others, mine.others + libcs);
}

void check_invariants(const char *where)
{
	const char *fault = block_check();

	if (!fault)
		fault = slab_check();
	if (!fault)
		fault = tcache_check();
	if (fault)
		finding("%s%s", where, fault);
}

static void check_object(const struct object *o, void *arg)
{
	(void)arg;
	object_check(o);
}

static void note_worst(size_t *worst, size_t kept)
{
	if (kept > *worst)
		*worst = kept;
}

static void check_trimmed(void)
{
	malloc_trim(0);
	note_worst(&quiet_figures.worst_trimmed, check_resident("After malloc_trim", false));
	check_invariants("");
}

void quiet_check(enum quiet quiet)
{
	check_invariants("");
	check_counts();
	check_course_size();
	quiet_figures.checks++;
	if (quiet == QUIET_BUSY)
		return;
	for_each(check_object, NULL);
	if (quiet == QUIET_IDLE)
		note_worst(&quiet_figures.worst_kept, check_resident("After light activity", true));
	check_trimmed();
}

void quiet_begin(void)
{
	base_resident = resident();
	base_blocks = libc_blocks();
}
