// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* Memory goes back to the kernel, and nothing grows without end. */

#include "libc_common.h"

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

#define PEAK GIB
#define LIGHT_ROUNDS 400
#define LEAST_FREE (2 * GIB) /* the machine must have this for a peak of half of it */

static void need_memory(void)
{
	test_timeout(300);
	if (available_bytes() < LEAST_FREE)
		test_skip("less than 2 GiB of memory are available");
}

/* A program that has little to do for a second, or longer where the machine has no time for it. */
static void live_lightly(void)
{
	double end = seconds() + 1;

	for (int rounds = 0; rounds < LIGHT_ROUNDS || seconds() < end; rounds++) {
		free(malloc(100));
		free(malloc(10000));
		sleep_ms(1);
	}
}

static void check_fell(size_t before, size_t peak)
{
	size_t now = resident_bytes();

	CHECK_MSG(now < before + peak / 20, "%zu KiB before, %zu at the peak, %zu after",
		  before / KIB, peak / KIB, now / KIB);
}

/* From 16 bytes to 1 MiB, every power of two as likely in bytes as the next. */
static size_t mixed_size(uint64_t *state)
{
	uint64_t r = random_next(state);
	size_t power = (size_t)16 << (r % 1024 ? r % 8 : r % 17);

	return power + (r >> 32) % power;
}

struct peak {
	void **blocks;
	size_t count, bytes;
};

/* Blocks of mixed sizes, written to, until they are bytes together. */
static void climb(struct peak *peak, size_t bytes, uint64_t seed)
{
	uint64_t state = seed;

	while (peak->bytes < bytes) {
		size_t size = mixed_size(&state);
		void *p = malloc(size);

		CHECK(p != NULL);
		memset(p, 1, size);
		peak->blocks[peak->count++] = p;
		peak->bytes += size;
	}
}

static struct peak new_peak(size_t bytes)
{
	struct peak peak = {0};

	peak.blocks = mmap(NULL, bytes / 16 * sizeof(void *), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(peak.blocks != MAP_FAILED);
	return peak;
}

static void descend(struct peak *peak, size_t bytes)
{
	for (size_t i = 0; i < peak->count; i++)
		free(peak->blocks[i]);
	munmap(peak->blocks, bytes / 16 * sizeof(void *));
}

static void shuffle(struct peak *peak)
{
	uint64_t state = 99;

	for (size_t i = peak->count - 1; i > 0; i--) {
		size_t j = random_next(&state) % (i + 1);
		void *p = peak->blocks[i];

		peak->blocks[i] = peak->blocks[j];
		peak->blocks[j] = p;
	}
}

TEST(peak_of_a_gibibyte_goes_back_within_a_second)
{
	size_t before, at_peak;
	struct peak peak;

	need_memory();
	peak = new_peak(PEAK);
	before = resident_bytes();
	climb(&peak, PEAK, 1);
	at_peak = resident_bytes();
	CHECK(at_peak >= PEAK);
	descend(&peak, PEAK);
	live_lightly();
	check_fell(before, at_peak);
}

TEST(peak_freed_in_random_order_goes_back)
{
	size_t before, at_peak;
	struct peak peak;

	need_memory();
	peak = new_peak(PEAK / 2);
	before = resident_bytes();
	climb(&peak, PEAK / 2, 2);
	at_peak = resident_bytes();
	shuffle(&peak);
	descend(&peak, PEAK / 2);
	live_lightly();
	check_fell(before, at_peak);
}

static void *climb_in_thread(void *arg)
{
	struct peak *peak = arg;

	climb(peak, PEAK / 8, (uintptr_t)peak);
	return NULL;
}

/* The threads end with their blocks live; another one frees them. */
TEST(peak_of_threads_that_ended_goes_back)
{
	size_t before, at_peak;
	struct peak peaks[4];
	pthread_t threads[4];

	need_memory();
	for (size_t i = 0; i < COUNT_OF(peaks); i++)
		peaks[i] = new_peak(PEAK / 8);
	before = resident_bytes();
	for (size_t i = 0; i < COUNT_OF(peaks); i++)
		CHECK(pthread_create(&threads[i], NULL, climb_in_thread, &peaks[i]) == 0);
	for (size_t i = 0; i < COUNT_OF(peaks); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	at_peak = resident_bytes();
	for (size_t i = 0; i < COUNT_OF(peaks); i++)
		descend(&peaks[i], PEAK / 8);
	live_lightly();
	check_fell(before, at_peak);
}

TEST(large_blocks_go_back)
{
	size_t before = resident_bytes();

	for (size_t size = MIB; size <= 256 * MIB; size *= 2) {
		char *p = malloc(size);

		CHECK(p != NULL);
		memset(p, 1, size);
		free(p);
	}
	live_lightly();
	check_fell(before, 256 * MIB);
}

/*
 * A free block in the heap, larger than all others, that each of the program's few calls takes a
 * piece of and gives it back. What is not touched becomes old nevertheless.
 */
TEST(free_block_in_light_use_goes_back)
{
	size_t before, peak, size = 30 * MIB;
	double end;
	char *p;

	for (int i = 0; i < 10; i++)
		CHECK(malloc(100000) != NULL);
	free(malloc(size + MIB)); /* the threshold adapts: the next one is not mapped */
	before = resident_bytes();
	p = malloc(size);
	CHECK(p != NULL);
	memset(p, 1, size);
	peak = resident_bytes();
	CHECK(peak >= before + size);
	free(p);
	end = seconds() + 1.5;
	while (seconds() < end && resident_bytes() > before + size / 10) {
		free(malloc(60000));
		sleep_ms(2);
	}
	check_fell(before + size / 10, peak);
}

/* The blocks live on, so no free tells of what realloc has cut off. */
/* One at a time, each larger than those before, none of which it fits into. */
TEST(larger_and_larger_blocks_leave_little)
{
	size_t before = resident_bytes(), size, last = 0;
	char *p, *other = malloc(40 * KIB); /* blocks have a region already */

	CHECK(mallopt(M_TRIM_THRESHOLD, GIB)); /* nothing goes back for its age */
	for (size = 128 * KIB; size < 24 * MIB; size += size / 2) {
		CHECK((p = malloc(size)));
		memset(p, 1, size);
		free(p);
		last = size;
	}
	CHECK_MSG(resident_bytes() < before + 2 * last, "%zu KiB after %zu at most",
		  (resident_bytes() - before) / KIB, last / KIB);
	free(other);
}

/* Objects of size; nothing for some time; then all are freed, or shrunk, faster than sweeps are. */
static void drop_at_once(size_t size, bool is_shrunk)
{
	static char *p[4096];
	size_t total = 100 * MIB, n = total / size, before = resident_bytes();

	for (size_t i = 0; i < n; i++) {
		p[i] = malloc(size);
		CHECK(p[i] != NULL);
		memset(p[i], 1, size);
	}
	live_lightly();
	for (size_t i = 0; i < n; i++) {
		p[i] = realloc(p[i], is_shrunk ? size / 8 : 0);
		CHECK(!is_shrunk || p[i]);
	}
	live_lightly();
	check_fell(before + (is_shrunk ? total / 8 : 0), total);
	for (size_t i = 0; i < n; i++)
		free(p[i]);
}

static void drop_sizes(void *is_shrunk)
{
	const size_t sizes[] = {50000, 65536, 500000, 1500000, 3000000};

	need_memory();
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		if (!is_shrunk || sizes[i] > 300000)
			drop_at_once(sizes[i], is_shrunk);
}

TEST(large_objects_freed_in_no_time_go_back)
{
	drop_sizes(NULL);
}

TEST(large_objects_shrunk_in_no_time_go_back)
{
	drop_sizes("shrunk");
}

TEST(what_realloc_cuts_off_goes_back)
{
	size_t before, size = 20 * MIB;
	char *p[10];

	need_memory();
	free(malloc(size + MIB)); /* as above */
	before = resident_bytes();
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		p[i] = malloc(size);
		CHECK(p[i] != NULL);
		memset(p[i], 1, size);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = realloc(p[i], 50000);
	live_lightly();
	check_fell(before, COUNT_OF(p) * size);
}

/* One block in eight lives, so that few slabs of an allocator that has such are free. */
static void trim_between(size_t size)
{
	static char *p[64 * KIB];
	size_t before = resident_bytes(), total = 128 * MIB, n = total / size;

	CHECK(n <= COUNT_OF(p));
	for (size_t i = 0; i < n; i++) {
		p[i] = malloc(size);
		CHECK(p[i] != NULL);
		fill(p[i], size, (unsigned int)i);
	}
	for (size_t i = 0; i < n; i++)
		if (i % 8)
			free(p[i]);
	malloc_trim(0);
	check_fell(before + total / 8, total);
	for (size_t i = 0; i < n; i += 8) {
		CHECK(is_filled(p[i], size, (unsigned int)i));
		free(p[i]);
	}
}

TEST(trim_gives_back_pages_between_live_blocks)
{
	test_needs_small_pages();
	test_timeout(300);
	trim_between(4096);
	trim_between(8192);
	trim_between(32 * KIB);
	trim_between(100 * KIB);
}

/* Up and down again and again: the peak of each round is that of the first. */
TEST(repeated_peaks_do_not_grow)
{
	size_t first = 0;

	for (int round = 0; round < 12; round++) {
		struct peak peak = new_peak(64 * MIB);

		climb(&peak, 64 * MIB, 7 + (uint64_t)round);
		if (round == 1)
			first = resident_bytes();
		shuffle(&peak);
		descend(&peak, 64 * MIB);
	}
	live_lightly();
	CHECK(resident_bytes() < first);
}

static void *use_a_little(void *arg)
{
	void **left = arg, *p[20];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = malloc(i * 60 + 1);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	*left = malloc(500);
	return NULL;
}

TEST(a_hundred_thousand_threads_do_not_grow)
{
	size_t early = 0;

	test_timeout(120);
	for (int i = 0; i < 100000; i++) {
		pthread_t thread;
		void *left = NULL;

		CHECK(pthread_create(&thread, NULL, use_a_little, &left) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK(left != NULL);
		free(left);
		if (i == 1000)
			early = resident_bytes();
	}
	CHECK_MSG(resident_bytes() < early + 2 * MIB, "%zu KiB, then %zu KiB", early / KIB,
		  resident_bytes() / KIB);
}

/* Many threads at once, in waves. */
TEST(waves_of_threads_do_not_grow)
{
	enum {
		WAVE = 100,
		SETTLED = 200, /* waves, until depots and shards have cells of all sizes */
		SEEN = 50 /* of them that are compared: how many threads run at once is chance */
	};
	size_t early = 0, late = SIZE_MAX;

	for (int wave = 0; wave < 2 * SETTLED; wave++) {
		pthread_t threads[WAVE];
		void *left[WAVE];

		for (int i = 0; i < WAVE; i++)
			CHECK(!pthread_create(&threads[i], NULL, use_a_little, &left[i]));
		for (int i = 0; i < WAVE; i++)
			CHECK(!pthread_join(threads[i], NULL));
		for (int i = 0; i < WAVE; i++)
			free(left[i]);
		if (wave >= SETTLED - SEEN && wave < SETTLED && resident_bytes() > early)
			early = resident_bytes();
		if (wave >= 2 * SETTLED - SEEN && resident_bytes() < late)
			late = resident_bytes();
	}
	CHECK_MSG(late < early + 4 * MIB, "%zu KiB, then %zu KiB", early / KIB, late / KIB);
}

/* A queue between one thread that allocates and one that frees. */
enum {
	QUEUE = 256,
	PASSED = 1000000
};

static void *queue[QUEUE];
static sem_t filled, emptied;

static void *consume(void *arg)
{
	for (size_t i = 0; i < PASSED; i++) {
		sem_wait(&filled);
		free(queue[i % QUEUE]);
		sem_post(&emptied);
	}
	return arg;
}

TEST(frees_in_another_thread_do_not_grow)
{
	size_t early = 0;
	pthread_t consumer;

	sem_init(&filled, 0, 0);
	sem_init(&emptied, 0, QUEUE);
	CHECK(pthread_create(&consumer, NULL, consume, NULL) == 0);
	for (size_t i = 0; i < PASSED; i++) {
		void *p = malloc(i % 1500);

		CHECK(p != NULL);
		*(char *)p = 1;
		sem_wait(&emptied);
		queue[i % QUEUE] = p;
		sem_post(&filled);
		if (i == PASSED / 10)
			early = resident_bytes();
	}
	CHECK(pthread_join(consumer, NULL) == 0);
	CHECK_MSG(resident_bytes() < early + 8 * MIB, "%zu KiB, then %zu KiB", early / KIB,
		  resident_bytes() / KIB);
}

/* A program whose sizes change over time: what served the old sizes must serve the new ones. */
TEST(changing_sizes_do_not_grow)
{
	static void *p[20000];
	size_t largest = 0;

	for (size_t size = 32; size <= 3000; size += 150) {
		size_t count = 20 * MIB / size < COUNT_OF(p) ? 20 * MIB / size : COUNT_OF(p);

		for (size_t i = 0; i < count; i++) {
			p[i] = malloc(size);
			CHECK(p[i] != NULL);
			memset(p[i], 1, size);
		}
		for (size_t i = 0; i < count; i++)
			free(p[i]);
		largest = resident_bytes() > largest ? resident_bytes() : largest;
	}
	CHECK_MSG(largest < 80 * MIB, "%zu KiB for 20 MiB live", largest / KIB);
}
