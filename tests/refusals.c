// SPDX-License-Identifier: BSD-3-Clause

#include "refusals.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block.h"
#include "harness.h"
#include "mapping.h"
#include "slab_core.h"
#include "tcache.h"

struct kernel kernel = {.kinds = REFUSE_ANY};

/* Plans. */

void refuse(size_t first, size_t last)
{
	kernel.first = first;
	kernel.last = last;
	kernel.per_mille = 0;
	kernel.kinds = REFUSE_ANY;
	kernel.calls = 0;
	kernel.failures = 0;
}

void refuse_at_random(size_t per_mille, uint64_t seed)
{
	refuse_nothing();
	kernel.random = seed;
	kernel.per_mille = per_mille;
}

void refuse_nothing(void)
{
	refuse(1, 0);
}

void refuse_only(unsigned int kinds)
{
	kernel.kinds = kinds;
}

static bool is_unlucky(void)
{
	uint64_t random = kernel.random * 6364136223846793005u + 1442695040888963407u;

	kernel.random = random; /* two threads may draw the same */
	return (random >> 33) % 1000 < kernel.per_mille;
}

static bool is_refused(enum refusable kind)
{
	size_t call;

	if (!(kernel.kinds & kind))
		return false;
	if (kernel.before)
		kernel.before();
	call = ++kernel.calls;
	if (!is_unlucky() && (call < kernel.first || call > kernel.last))
		return false;
	kernel.failures++;
	errno = ENOMEM;
	return true;
}

/* The calls. */

static size_t pages(size_t size)
{
	return (size + sys_page_size() - 1) & ~(sys_page_size() - 1);
}

void *__real_sbrk(intptr_t by);
void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t size);
void *__real_mremap(void *p, size_t old_size, size_t new_size, int flags, ...);
int __real_madvise(void *p, size_t size, int advice);
int __real_mprotect(void *p, size_t size, int access);
int __real_mincore(void *p, size_t size, unsigned char *resident);

void *__wrap_sbrk(intptr_t by);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t size);
void *__wrap_mremap(void *p, size_t old_size, size_t new_size, int flags, void *to);
int __wrap_madvise(void *p, size_t size, int advice);
int __wrap_mprotect(void *p, size_t size, int access);
int __wrap_mincore(void *p, size_t size, unsigned char *resident);

void *__wrap_sbrk(intptr_t by)
{
	void *p = is_refused(REFUSE_SBRK) ? (void *)-1 : __real_sbrk(by);

	if (p != (void *)-1)
		kernel.raised += (size_t)by;
	return p;
}

/* The place of a mapping that may be nowhere else: taken, also as kernels before 4.17 say it. */
static bool is_taken(void **at, int *flags)
{
	size_t place;

	if (!(*flags & MAP_FIXED_NOREPLACE))
		return false;
	place = ++kernel.places_taken % 3;
	if (place == 0)
		return false;
	*flags &= ~MAP_FIXED_NOREPLACE;
	*at = NULL;
	return place == 1;
}

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	void *p = MAP_FAILED;

	if (!is_refused(REFUSE_MMAP)) {
		errno = EEXIST;
		if (!is_taken(&at, &flags))
			p = __real_mmap(at, size, prot, flags, fd, offset);
	}
	if (p != MAP_FAILED && !(flags & MAP_FIXED)) /* which lies over what is mapped */
		kernel.mapped += pages(size);
	return p;
}

int __wrap_munmap(void *p, size_t size)
{
	int result = is_refused(REFUSE_MUNMAP) ? -1 : __real_munmap(p, size);

	if (result == 0)
		kernel.mapped -= pages(size);
	return result;
}

/* Callers give to with MREMAP_FIXED only. */
void *__wrap_mremap(void *p, size_t old_size, size_t new_size, int flags, void *to)
{
	void *q = is_refused(REFUSE_MREMAP) ? MAP_FAILED
					    : __real_mremap(p, old_size, new_size, flags, to);

	if (q != MAP_FAILED)
		kernel.mapped += (flags & MREMAP_FIXED ? 0 : pages(new_size)) - pages(old_size);
	return q;
}

int __wrap_madvise(void *p, size_t size, int advice)
{
	return is_refused(REFUSE_MADVISE) ? -1 : __real_madvise(p, size, advice);
}

int __wrap_mprotect(void *p, size_t size, int access)
{
	return is_refused(REFUSE_MPROTECT) ? -1 : __real_mprotect(p, size, access);
}

int __wrap_mincore(void *p, size_t size, unsigned char *resident)
{
	return is_refused(REFUSE_MINCORE) ? -1 : __real_mincore(p, size, resident);
}

/* What is there, and what should be. */

void check_all(void)
{
	const char *fault = block_check();

	if (!fault)
		fault = tcache_check();
	CHECK_MSG(!fault, "%s", fault);
}

static struct {
	size_t course_blocks, spans, mappings, cells, caches, segments;
} live;

static struct block_stats course_stats(void)
{
	struct block_stats stats;

	block_get_stats(&stats);
	return stats;
}

static struct tcache_stats caches(void)
{
	struct tcache_stats stats;

	tcache_get_stats(&stats);
	return stats;
}

static size_t live_cells(void)
{
	struct slab_stats cells;

	slab_get_stats(&cells);
	return cells.out_cells - caches().cached_cells;
}

static struct mapping_stats mappings(void)
{
	struct mapping_stats stats;

	mapping_get_stats(&stats);
	return stats;
}

/* Spans that are not kept by a thread. */
static size_t live_spans(void)
{
	return slab_store.span_allocs - slab_store.span_frees - caches().spans;
}

/* Bytes mapped for segments, for objects, and for the table of these. */
static size_t bytes_in_use(void)
{
	struct mapping_stats stats = mappings();

	return slab_store.segments * SEGMENT_SIZE + stats.bytes + mapping_kept_bytes() +
	       pages(stats.table_bytes);
}

void note_live(void)
{
	live.course_blocks = course_stats().live_blocks;
	live.spans = live_spans();
	live.mappings = mappings().count;
	live.cells = live_cells();
	live.caches = caches().caches;
	live.segments = slab_store.segments ? slab_store.segments : 1;
	kernel.mapped = bytes_in_use();
}

void check_nothing_lost(void)
{
	struct block_stats course;

	malloc_trim(0);
	check_all();
	course = course_stats();
	CHECK_MSG(course.live_blocks == live.course_blocks && course.mapped_blocks == 0,
		  "course: %zu blocks and %zu mapped blocks are live", course.live_blocks,
		  course.mapped_blocks);
	CHECK_MSG(live_spans() == live.spans && mappings().count == live.mappings,
		  "%zu spans and %zu mappings are live", live_spans(), mappings().count);
	CHECK_MSG(live_cells() == live.cells, "%zu cells are live, not %zu", live_cells(),
		  live.cells);
	CHECK_MSG(caches().caches <= live.caches + 1, "%zu caches, not %zu", caches().caches,
		  live.caches);
	CHECK_MSG(slab_store.segments <= live.segments || caches().cached_cells, "%zu segments",
		  slab_store.segments);
	CHECK_MSG(kernel.mapped == bytes_in_use(), "%zu bytes mapped, %zu in use", kernel.mapped,
		  bytes_in_use());
	CHECK_MSG(kernel.raised <= course.region_bytes + course.reserve_bytes + 16,
		  "break raised by %zu, %zu in use", kernel.raised,
		  course.region_bytes + course.reserve_bytes);
}
