// SPDX-License-Identifier: BSD-3-Clause

#include "refusals.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block/block.h"
#include "cache/tcache.h"
#include "harness.h"
#include "large/large_core.h"
#include "slab/slab_core.h"
#include "tunables.h"

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

/* The arguments of a system call. */
struct call {
	long number, a, b, c, d, e, f;
};

void *__real_sbrk(intptr_t by);
long __real_kernel_call(long number, long a, long b, long c, long d, long e, long f);

void *__wrap_sbrk(intptr_t by);
long __wrap_kernel_call(long number, long a, long b, long c, long d, long e, long f);

void *__wrap_sbrk(intptr_t by)
{
	void *p = is_refused(REFUSE_SBRK) ? (void *)-1 : __real_sbrk(by);

	if (p != (void *)-1)
		kernel.raised += (size_t)by;
	return p;
}

static long pass(const struct call *c)
{
	return __real_kernel_call(c->number, c->a, c->b, c->c, c->d, c->e, c->f);
}

static long pass_unless_refused(enum refusable kind, const struct call *c)
{
	return is_refused(kind) ? -1 : pass(c);
}

/* The place of a mapping that may be nowhere else: taken, also as kernels before 4.17 say it. */
static bool is_taken(long *at, long *flags)
{
	size_t place;

	if (!(*flags & MAP_FIXED_NOREPLACE))
		return false;
	place = ++kernel.places_taken % 3;
	if (place == 0)
		return false;
	*flags &= ~MAP_FIXED_NOREPLACE;
	*at = 0;
	return place == 1;
}

static long do_mmap(struct call *c)
{
	long p = -1;

	if ((size_t)c->b < kernel.least || !is_refused(REFUSE_MMAP)) {
		errno = EEXIST;
		if (!is_taken(&c->a, &c->d))
			p = pass(c);
	}
	if (p != -1 && !(c->d & MAP_FIXED)) /* which lies over what is mapped */
		kernel.mapped += pages((size_t)c->b);
	return p;
}

static long do_munmap(const struct call *c)
{
	long result = pass_unless_refused(REFUSE_MUNMAP, c);

	if (result == 0)
		kernel.mapped -= pages((size_t)c->b);
	return result;
}

static long do_mremap(const struct call *c)
{
	long q = pass_unless_refused(REFUSE_MREMAP, c);

	if (q != -1 && !(c->d & MREMAP_DONTUNMAP))
		kernel.mapped +=
			(c->d & MREMAP_FIXED ? 0 : pages((size_t)c->c)) - pages((size_t)c->b);
	return q;
}

long __wrap_kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	struct call call = {number, a, b, c, d, e, f};

	switch (number) {
	case SYS_mmap:
		return do_mmap(&call);
	case SYS_munmap:
		return do_munmap(&call);
	case SYS_mremap:
		return do_mremap(&call);
	case SYS_madvise:
		return pass_unless_refused(REFUSE_MADVISE, &call);
	case SYS_mprotect:
		return pass_unless_refused(REFUSE_MPROTECT, &call);
	case SYS_mincore:
		return pass_unless_refused(REFUSE_MINCORE, &call);
	case SYS_openat:
		return pass_unless_refused(REFUSE_OPEN, &call);
	case SYS_write:
		if (kernel.write)
			return kernel.write((int)a, (const void *)b, (size_t)c);
		break;
	default:
		break;
	}
	return pass(&call);
}

/* What is there, and what should be. */

void check_all(void)
{
	const char *fault = block_check();

	if (!fault)
		fault = tcache_check();
	CHECK_MSG(!fault, "%s", fault);
}

void expect_refusal(bool may_fail)
{
	CHECK_MSG(may_fail, "refused, and there is memory");
	CHECK_MSG(errno == ENOMEM, "errno is %d", errno);
}

static struct {
	size_t course_blocks, spans, mappings, cells, caches, segments;
} live;

static struct osmem_heap_stats course_stats(void)
{
	struct osmem_heap_stats stats;

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
	struct osmem_cell_stats cells;

	slab_get_stats(&cells);
	return cells.live - caches().cached_cells;
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

/* The first window is static until it has grown. */
static size_t window_bytes(void)
{
	size_t bytes = 0;

	for (const struct window *w = window_first(); w; w = w->next)
		if (w->map.slots << SLAB_SHIFT > WINDOW_FIRST)
			bytes += pages(window_groups(w) * sizeof(*w->bits) + sizeof(*w) +
				       w->map.slots * sizeof(*w->map.bins));
	return bytes;
}

static size_t segment_bytes(void)
{
	const struct segment *g = NULL;
	size_t bytes = 0;

	while ((g = segment_next(SET_LIVE, g)))
		bytes += segment_size(g);
	return bytes;
}

/* Bytes mapped for segments, their windows, for objects, and for the table of these. */
/* Of the mapping that replaces the break if the first raise was refused. */
static size_t break_bytes(void)
{
	struct osmem_heap_stats course = course_stats();

	return kernel.raised ? 0 : pages(course.region_bytes + course.ahead_bytes);
}

static size_t bytes_in_use(void)
{
	struct mapping_stats stats = mappings();

	return segment_bytes() + window_bytes() + stats.bytes + large_dirty_bytes() +
	       pages(stats.table_bytes) + break_bytes();
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

/* Slabs of the library's own cells; each may lie in another segment. */
static size_t own_slabs(void)
{
	size_t slabs = 0;

	for (unsigned int class = CLASS_MAGAZINE; class < CLASS_END; class ++)
		slabs += slab_class_states[class].slabs;
	return slabs;
}

void check_nothing_lost(void)
{
	struct osmem_heap_stats course;

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
	CHECK_MSG(slab_store.segments <= live.segments || slab_store.segments <= own_slabs() ||
			  caches().cached_cells,
		  "%zu segments", slab_store.segments);
	CHECK_MSG(kernel.mapped == bytes_in_use(), "%zu bytes mapped, %zu in use", kernel.mapped,
		  bytes_in_use());
	CHECK_MSG(kernel.raised <= course.region_bytes + course.ahead_bytes + 16,
		  "break raised by %zu, %zu in use", kernel.raised,
		  course.region_bytes + course.ahead_bytes);
}
