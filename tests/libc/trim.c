// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * malloc_trim(0) brings a process within 2 % and 1 MiB of what it needs: for every pointer the test
 * holds the pages that its bytes lie in, and for each 64 KiB with such cells the bits and the
 * descriptor that say so. A second of light activity after a peak leaves 5 MiB more than that,
 * where whole slabs of 64 KiB count instead of pages.
 */

#include "bench/load/resident.h"
#include "libc_common.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)
#define SLAB (64 * KIB)
#define CELL_MAX (32 * KIB)
#define HEADER ((size_t)32) /* in front of what is larger */
#define FREE_HEADER ((size_t)96) /* of the free block behind it, links and all */
#define SLAB_METADATA ((size_t)576) /* for each 64 KiB with a live cell */
#define SEGMENT_METADATA (4 * PAGE) /* for each 4 MiB with one */
#define HELD_MAX ((size_t)4 << 20)
#define PAGES_MAX ((size_t)1 << 20)

struct held {
	char *p;
	size_t size;
};

/* Both are outside the heap, and touched before anything is measured. */
static struct held *held;
static size_t held_count;
static size_t base;

static size_t resident(void)
{
	return resident_kib() * KIB;
}

static void *outside(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* For up to most pointers. */
static void begin(size_t most)
{
	CHECK(most <= HELD_MAX);
	held = outside(most * sizeof(*held));
	memset(held, 1, most * sizeof(*held));
	held_count = 0;
	free(malloc(100));
	malloc_trim(0);
	base = resident();
	if (!base)
		test_skip("the kernel does not tell what is resident");
}

static void hold(size_t size)
{
	char *p = malloc(size);

	CHECK(p != NULL);
	memset(p, 1, size);
	held[held_count++] = (struct held){.p = p, .size = size};
}

/* Free all but those that keep says; what is kept moves together. */
static void drop(bool (*keep)(size_t i, const struct held *h))
{
	size_t kept = 0;

	for (size_t i = 0; i < held_count; i++) {
		if (keep(i, &held[i]))
			held[kept++] = held[i];
		else
			free(held[i].p);
	}
	held_count = kept;
}

/* What is needed. */

static int compare_pages(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return (x > y) - (x < y);
}

static size_t add_pages(uintptr_t *pages, size_t n, const char *from, const char *to)
{
	for (uintptr_t page = (uintptr_t)from / PAGE; page <= ((uintptr_t)to - 1) / PAGE; page++) {
		CHECK(n < PAGES_MAX);
		pages[n++] = page;
	}
	return n;
}

/* How many distinct places of 2^shift pages there are among n pages, which are sorted. */
static size_t count_places(const uintptr_t *pages, size_t n, unsigned int shift)
{
	size_t count = n > 0;

	for (size_t i = 1; i < n; i++)
		count += pages[i] >> shift != pages[i - 1] >> shift;
	return count;
}

/* What the cells in these pages need, of slabs all of it or the pages alone. */
static size_t bytes_of_cells(const uintptr_t *pages, size_t n, bool whole_slabs)
{
	size_t slabs = count_places(pages, n, 4);

	return (whole_slabs ? slabs * SLAB : count_places(pages, n, 0) * PAGE) +
	       slabs * SLAB_METADATA + count_places(pages, n, 10) * SEGMENT_METADATA;
}

static size_t needed(bool whole_slabs)
{
	uintptr_t *pages = outside(PAGES_MAX * sizeof(*pages));
	size_t n = 0, bytes;

	for (size_t i = 0; i < held_count; i++)
		if (held[i].size <= CELL_MAX)
			n = add_pages(pages, n, held[i].p,
				      held[i].p + malloc_usable_size(held[i].p));
	qsort(pages, n, sizeof(*pages), compare_pages);
	bytes = bytes_of_cells(pages, n, whole_slabs);
	n = 0;
	for (size_t i = 0; i < held_count; i++)
		if (held[i].size > CELL_MAX)
			n = add_pages(pages, n, held[i].p - HEADER,
				      held[i].p + malloc_usable_size(held[i].p) + FREE_HEADER);
	qsort(pages, n, sizeof(*pages), compare_pages);
	bytes += count_places(pages, n, 0) * PAGE;
	munmap(pages, PAGES_MAX * sizeof(*pages));
	return bytes;
}

/* No more than 2 % and extra bytes beyond what is needed are in memory. */
static void check_within(size_t extra, bool whole_slabs)
{
	size_t now = resident(), need = needed(whole_slabs);

	CHECK_MSG(now <= base + need + need / 50 + extra,
		  "%zu KiB in use, %zu KiB needed for %zu blocks", (now - base) / KIB, need / KIB,
		  held_count);
	for (size_t i = 0; i < held_count; i++)
		CHECK(held[i].p[0] == 1 && held[i].p[held[i].size - 1] == 1);
}

static void check_trimmed(void)
{
	malloc_trim(0);
	check_within(MIB, false);
}

/* Which ones live. */

static bool one_in_300(size_t i, const struct held *h)
{
	(void)h;
	return i * 2654435761u % 300 == 0;
}

static bool one_in_8(size_t i, const struct held *h)
{
	(void)h;
	return i % 8 == 0;
}

static bool none(size_t i, const struct held *h)
{
	(void)i;
	(void)h;
	return false;
}

/* The first that is met in each 4 MiB, or in each 64 KiB. */
static bool one_in_each(const struct held *h, unsigned int shift)
{
	static uintptr_t last;
	uintptr_t here = (uintptr_t)h->p >> shift;

	if (here == last)
		return false;
	last = here;
	return true;
}

static bool one_in_4_mib(size_t i, const struct held *h)
{
	(void)i;
	return one_in_each(h, 22);
}

static bool one_in_64_kib(size_t i, const struct held *h)
{
	(void)i;
	return one_in_each(h, 16);
}

/* Of large ones, too, as slabs of 256 KiB have them. */
static bool one_in_256_kib(size_t i, const struct held *h)
{
	static uint8_t kept[1 << 20]; /* places of a TiB */
	uint8_t *here = &kept[((uintptr_t)h->p >> 18) % COUNT_OF(kept)];

	(void)i;
	if (*here)
		return false;
	*here = 1;
	return true;
}

static void hold_sizes(size_t bytes, size_t least, size_t most)
{
	uint64_t state = 5;

	for (size_t done = 0; done < bytes; done += held[held_count - 1].size)
		hold(least + random_next(&state) % (most - least + 1));
}

TEST(trim_small_cells)
{
	begin(200000);
	hold_sizes(24 * MIB, 16, 512);
	check_trimmed();
	drop(one_in_8);
	check_trimmed();
	drop(one_in_300);
	check_trimmed();
	drop(none);
	check_trimmed();
}

TEST(trim_one_cell_in_each_slab)
{
	begin(200000);
	for (size_t i = 0; i < 24 * MIB / 160; i++)
		hold(160);
	drop(one_in_64_kib);
	check_trimmed();
}

TEST(trim_one_cell_in_each_segment)
{
	begin(300000);
	for (size_t i = 0; i < 200 * MIB / 1000; i++)
		hold(1000);
	drop(one_in_4_mib);
	check_trimmed();
}

TEST(trim_large_cells_and_blocks)
{
	begin(20000);
	hold_sizes(24 * MIB, 8 * KIB, 32 * KIB);
	drop(one_in_8);
	check_trimmed();
	hold_sizes(24 * MIB, 33 * KIB, 500 * KIB);
	drop(one_in_8);
	check_trimmed();
}

TEST(trim_mixed)
{
	uint64_t state = 9;

	begin(300000);
	for (size_t done = 0; done < 40 * MIB; done += held[held_count - 1].size)
		hold((size_t)1 << (4 + random_next(&state) % 4 * (random_next(&state) % 5)));
	drop(one_in_8);
	check_trimmed();
}

/* Slabs that begin in memory that was in use before: what is not carved was written to. */
TEST(trim_slabs_in_used_memory)
{
	begin(200000);
	hold_sizes(24 * MIB, 100, 200);
	drop(none);
	for (size_t size = 16; size <= 32 * KIB; size += size / 8 + 1)
		hold(size);
	check_trimmed();
}

/* Several threads whose caches hold cells, while they wait. */

enum {
	THREADS = 4
};

#define THREAD_MAX (4 * MIB) /* what a thread's cache holds at most, about */

static pthread_barrier_t barrier;

static void fill_cache(void)
{
	static __thread void *p[64];

	for (size_t size = 16; size <= 32 * KIB; size += size / 16 + 16) {
		for (size_t i = 0; i < COUNT_OF(p); i++)
			p[i] = memset(malloc(size), 1, size);
		for (size_t i = 0; i < COUNT_OF(p); i++)
			free(p[i]);
	}
}

static void *wait_with_cells(void *calls)
{
	fill_cache();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier); /* trimmed meanwhile */
	for (int i = 0; i < *(int *)calls; i++)
		free(malloc(24));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void start_threads(pthread_t *threads, int *calls)
{
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, wait_with_cells, calls) == 0);
	pthread_barrier_wait(&barrier);
}

/* Their caches are theirs: at once goes what lies elsewhere; with each one's next call, all. */
TEST(trim_asks_other_threads)
{
	pthread_t threads[THREADS];
	int calls = 1;

	begin(1);
	start_threads(threads, &calls);
	malloc_trim(0);
	check_within(MIB + THREADS * THREAD_MAX, false);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	check_trimmed();
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check_trimmed();
}

static bool all_but_some_pages(size_t i, const struct held *h)
{
	(void)h;
	return i / 200 % 20;
}

static void *wait_idly(void *arg)
{
	free(malloc(24));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return arg;
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void trim_times(int n)
{
	for (int i = 0; i < n; i++)
		malloc_trim(0);
}

/* Beside another thread the fifth trim in a second leaves a few pages between cells, not many. */
TEST(trim_often)
{
	long long start = now_ms();
	pthread_t thread;
	size_t before;

	begin(HELD_MAX / 16);
	hold_sizes(16 * MIB, 100, 100);
	pthread_barrier_init(&barrier, NULL, 2);
	CHECK(pthread_create(&thread, NULL, wait_idly, NULL) == 0);
	pthread_barrier_wait(&barrier);
	trim_times(4);
	drop(all_but_some_pages);
	before = resident();
	malloc_trim(0);
	if (now_ms() - start > 900)
		test_skip("too slow");
	CHECK(resident() + 200 * KIB > before);
	sleep_ms(1000);
	malloc_trim(0);
	CHECK(resident() + 500 * KIB < before);
	trim_times(4);
	drop(one_in_64_kib);
	check_trimmed();
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
}

/* Idle: a peak, silence, and then a few hundred calls in a second. */

static void be_idle(void)
{
	sleep_ms(300);
	for (int i = 0; i < 500; i++) {
		free(malloc(100));
		sleep_ms(2);
	}
}

TEST(idle_after_a_peak_of_cells)
{
	begin(200000);
	hold_sizes(24 * MIB, 16, 512);
	drop(one_in_300);
	be_idle();
	check_within(5 * MIB, true);
}

TEST(idle_after_one_cell_in_each_slab)
{
	begin(200000);
	for (size_t i = 0; i < 24 * MIB / 160; i++)
		hold(160);
	drop(one_in_64_kib);
	be_idle();
	check_within(5 * MIB, false);
}

TEST(idle_after_few_cells_of_all_sizes)
{
	begin(200000);
	hold_sizes(48 * MIB, 16, 32 * KIB);
	drop(one_in_256_kib);
	be_idle();
	check_within(5 * MIB, false);
}

TEST(idle_after_a_peak_of_blocks)
{
	begin(20000);
	hold_sizes(48 * MIB, 33 * KIB, 500 * KIB);
	drop(one_in_8);
	be_idle();
	check_within(5 * MIB, true);
}
