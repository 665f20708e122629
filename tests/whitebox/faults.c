// SPDX-License-Identifier: BSD-3-Clause

/*
 * The kernel refuses. The linker wraps the five calls through which memory comes and goes
 * (-Wl,--wrap), and a plan says which of them fail: one, all from one on, or some at random. A
 * scenario over every public function must then get NULL and ENOMEM where memory was needed, keep
 * every block's contents, leave both heaps and the store of cells sound, lose nothing but what a
 * refused munmap explains, and run without a failure once the plan is over. A mapping that is wanted
 * at one place finds it taken now and then, plan or no plan: that is no failure.
 */

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "heap_core.h"
#include "osmem.h"
#include "slab_core.h"
#include "tcache.h"

#define PAGE ((size_t)4096)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

/* Random numbers. */

static uint64_t random_state;

static size_t random_below(size_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (size_t)(random_state >> 8) % n;
}

/* The kernel as planned. */

static struct {
	size_t first, last; /* calls of these numbers fail, from 1 on */
	size_t per_mille; /* and as many of all others, at random */
	uint64_t random;
	size_t calls, failures;
	size_t mapped; /* bytes, whole pages */
	size_t not_unmapped; /* bytes of refused munmaps */
	size_t kept_segments; /* the store keeps and uses those that it could not unmap */
	size_t places_taken;
	size_t raised; /* bytes that the break went up */
} kernel;

static bool is_refused(void)
{
	bool is_random;

	kernel.calls++;
	kernel.random = kernel.random * 6364136223846793005u + 1442695040888963407u;
	is_random = (kernel.random >> 33) % 1000 < kernel.per_mille;
	if (!is_random && (kernel.calls < kernel.first || kernel.calls > kernel.last))
		return false;
	kernel.failures++;
	errno = ENOMEM;
	return true;
}

static size_t pages(size_t size)
{
	return round_up(size, PAGE);
}

void *__real_sbrk(intptr_t by);
void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t size);
void *__real_mremap(void *p, size_t old_size, size_t new_size, int flags);
int __real_madvise(void *p, size_t size, int advice);

void *__wrap_sbrk(intptr_t by);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t size);
void *__wrap_mremap(void *p, size_t old_size, size_t new_size, int flags);
int __wrap_madvise(void *p, size_t size, int advice);

void *__wrap_sbrk(intptr_t by)
{
	void *p = is_refused() ? (void *)-1 : __real_sbrk(by);

	if (p != (void *)-1)
		kernel.raised += (size_t)by;
	return p;
}

/* The place of a mapping that may be nowhere else: taken, also as kernels before 4.17 say it. */
static bool is_taken(void **at, int *flags)
{
	if (!(*flags & MAP_FIXED_NOREPLACE) || ++kernel.places_taken % 3 == 0)
		return false;
	*flags &= ~MAP_FIXED_NOREPLACE;
	*at = NULL;
	return kernel.places_taken % 3 == 1;
}

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	void *p = MAP_FAILED;

	if (!is_refused()) {
		errno = EEXIST;
		if (!is_taken(&at, &flags))
			p = __real_mmap(at, size, prot, flags, fd, offset);
	}

	if (p != MAP_FAILED)
		kernel.mapped += pages(size);
	return p;
}

static bool is_segment(const void *p, size_t size)
{
	return size == SEGMENT_SIZE && segment_of(p) == p && segment_of(p)->used;
}

int __wrap_munmap(void *p, size_t size)
{
	int result = is_refused() ? -1 : __real_munmap(p, size);

	if (result == 0)
		kernel.mapped -= pages(size);
	else if (is_segment(p, size))
		kernel.kept_segments++;
	else
		kernel.not_unmapped += pages(size);
	return result;
}

void *__wrap_mremap(void *p, size_t old_size, size_t new_size, int flags)
{
	void *q = is_refused() ? MAP_FAILED : __real_mremap(p, old_size, new_size, flags);

	if (q != MAP_FAILED)
		kernel.mapped += pages(new_size) - pages(old_size);
	return q;
}

int __wrap_madvise(void *p, size_t size, int advice)
{
	return is_refused() ? -1 : __real_madvise(p, size, advice);
}

static void no_more_faults(void)
{
	kernel.first = SIZE_MAX;
	kernel.last = 0;
	kernel.per_mille = 0;
}

/* Every way to get a block. */

static void *zeroed(unsigned char *p, size_t size)
{
	for (size_t i = 0; p && i < size; i += i < 256 ? 1 : 61)
		CHECK(p[i] == 0);
	return p;
}

static void *by_os_calloc(size_t size)
{
	return zeroed(os_calloc(1, size), size);
}

static void *by_os_realloc(size_t size)
{
	return os_realloc(NULL, size);
}

static void *by_calloc(size_t size)
{
	return zeroed(calloc(size, 1), size);
}

static void *by_realloc(size_t size)
{
	return realloc(NULL, size);
}

static void *by_reallocarray(size_t size)
{
	return reallocarray(NULL, 1, size);
}

static void *by_aligned_alloc(size_t size)
{
	return aligned_alloc(64, size);
}

static void *by_memalign(size_t size)
{
	return memalign((size_t)16 << random_below(18), size);
}

static void *by_posix_memalign(size_t size)
{
	void *p = NULL;
	int saved = errno, error = posix_memalign(&p, (size_t)8 << random_below(12), size);

	CHECK(errno == saved && error == (p ? 0 : ENOMEM));
	errno = error;
	return p;
}

struct way {
	void *(*get)(size_t size);
	bool is_course;
};

static const struct way ways[] = {
	{.get = os_malloc, .is_course = true},
	{.get = malloc},
	{.get = by_os_calloc, .is_course = true},
	{.get = by_calloc},
	{.get = by_os_realloc, .is_course = true},
	{.get = by_realloc},
	{.get = by_aligned_alloc},
	{.get = os_malloc, .is_course = true},
	{.get = by_memalign},
	{.get = by_posix_memalign},
	{.get = by_reallocarray},
	{.get = valloc},
	{.get = pvalloc},
};

/* Blocks with contents. */

struct slot {
	unsigned char *p;
	size_t size;
	unsigned char byte;
	bool is_course;
};

#define SLOTS 48
#define RUN 64 /* bytes that are looked at together */

static struct slot slots[SLOTS];
static bool is_strict; /* nothing may fail */

static size_t random_size(void)
{
	static const size_t limits[] = {16, 200, 200, 3000, 3000, 3000, 70000, 200000};

	if (random_below(20) == 0)
		return 1 + random_below(1500000);
	return 1 + random_below(limits[random_below(COUNT_OF(limits))]);
}

/*
 * Large blocks have their start written and looked at, runs that are ever further apart, and their
 * last byte. In every page it would be page faults, not refusals, that these tests spend their time on.
 */
static size_t next_run(size_t i)
{
	return i + RUN + i / 4;
}

static size_t run_end(size_t i, size_t size)
{
	return size - i < RUN ? size : i + RUN;
}

static void fill(struct slot *s, size_t size, unsigned char byte)
{
	s->size = size;
	s->byte = byte;
	for (size_t i = 0; i < size; i = next_run(i))
		memset(s->p + i, byte, run_end(i, size) - i);
	s->p[size - 1] = byte;
}

static void check_contents(const struct slot *s, size_t size)
{
	for (size_t i = 0; i < size; i = next_run(i))
		for (size_t j = i; j < run_end(i, size); j++)
			CHECK(s->p[j] == s->byte);
	CHECK(size < s->size || s->p[size - 1] == s->byte);
}

static void refused(void)
{
	int error = errno;

	CHECK_MSG(error == ENOMEM, "errno is %d", error);
	CHECK(!is_strict);
}

static void get(struct slot *s, size_t nr)
{
	const struct way *way = &ways[nr % COUNT_OF(ways)];
	size_t size = random_size();
	unsigned char byte = (unsigned char)random_below(256);

	errno = 0;
	s->p = way->get(size);
	s->is_course = way->is_course;
	if (s->p)
		fill(s, size, byte);
	else
		refused();
}

static void resize(struct slot *s, size_t nr)
{
	size_t size = random_size();
	unsigned char byte = (unsigned char)random_below(256), *p;

	errno = 0;
	if (s->is_course)
		p = os_realloc(s->p, size);
	else
		p = nr % 2 ? realloc(s->p, size) : reallocarray(s->p, size, 1);
	if (!p) {
		refused();
		check_contents(s, s->size);
		return;
	}
	s->p = p;
	check_contents(s, size < s->size ? size : s->size);
	fill(s, size, byte);
}

static void give_back(struct slot *s, size_t nr)
{
	check_contents(s, s->size);
	errno = 4711;
	if (s->is_course)
		nr % 3 ? os_free(s->p) : (void)os_realloc(s->p, 0);
	else if (nr % 5 == 0)
		free_sized(s->p, s->size);
	else if (nr % 5 == 1)
		free_aligned_sized(s->p, 16, s->size);
	else if (nr % 5 == 2)
		CHECK(realloc(s->p, 0) == NULL);
	else
		free(s->p);
	CHECK(errno == 4711);
	s->p = NULL;
}

static void ask(const struct slot *s, size_t nr)
{
	struct mallinfo2 info;

	if (s->p && !s->is_course)
		CHECK(malloc_usable_size(s->p) >= s->size);
	if (nr % 40 == 0)
		malloc_trim(0);
	if (nr % 100 == 1)
		mallopt(M_MMAP_THRESHOLD, nr % 200 ? 65536 : 1 << 20);
	if (nr % 200 == 2)
		CHECK(malloc_info(0, stderr) == 0);
	if (nr % 200 == 3)
		malloc_stats();
	info = mallinfo2();
	CHECK(info.uordblks <= info.arena);
}

static void check_heap(void)
{
	const char *fault = heap_check();

	CHECK_MSG(!fault, "%s", fault);
}

static void check_cells(void)
{
	const char *fault = tcache_check();

	CHECK_MSG(!fault, "%s", fault);
}

/* Cells enough for several segments, there or gone. */

#define BULK 160
#define BULK_SIZE 32768

static unsigned char *bulk[BULK];

static void free_bulk(void)
{
	for (size_t i = 0; i < BULK; i++) {
		CHECK(!bulk[i] || (bulk[i][0] == (unsigned char)i && bulk[i][BULK_SIZE - 1] == 1));
		free(bulk[i]);
		bulk[i] = NULL;
	}
}

static void toggle_bulk(void)
{
	if (bulk[0]) {
		free_bulk();
		return;
	}
	for (size_t i = 0; i < BULK; i++) {
		errno = 0;
		bulk[i] = malloc(BULK_SIZE);
		if (!bulk[i]) {
			refused();
			return;
		}
		bulk[i][0] = (unsigned char)i;
		bulk[i][BULK_SIZE - 1] = 1;
	}
}

/* steps calls with random arguments, the same ones for the same seed while nothing fails. */
static void run(size_t seed, size_t steps, size_t check_every)
{
	random_state = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t nr = 0; nr < steps; nr++) {
		struct slot *s = &slots[random_below(SLOTS)];
		size_t what = random_below(4);

		if (nr % 10 == 9)
			ask(s, nr / 10);
		else if (nr % 100 == 55)
			toggle_bulk();
		else if (!s->p)
			get(s, nr);
		else if (what)
			resize(s, nr);
		else
			give_back(s, nr);
		if (nr % check_every == 0)
			check_heap();
		if (nr % (check_every * 50) == 0)
			check_cells();
	}
}

static size_t live_before[HEAP_COUNT], cells_before, segments_before; /* the harness has printed */

static size_t live_cells(void)
{
	struct tcache_stats cached;
	struct slab_stats cells;

	slab_get_stats(&cells);
	tcache_get_stats(&cached);
	return cells.out_cells - cached.cached_cells;
}

/* What the kernel gave and has not got back, other than by its own fault. */
static void check_leaks(void)
{
	const struct heap *h = &heaps[HEAP_LIBC];
	struct heap_stats course;
	size_t expected = 0;

	for (size_t i = 0; i < h->region_count; i++)
		expected += pages((size_t)(h->regions[i].limit - h->regions[i].start) + h->grain);
	for (int i = 0; i < HEAP_COUNT; i++) {
		CHECK_MSG(heaps[i].stats.live_blocks == live_before[i] &&
				  heaps[i].stats.mapped_blocks == 0,
			  "heap %d: %zu blocks and %zu mapped blocks are live", i,
			  heaps[i].stats.live_blocks, heaps[i].stats.mapped_blocks);
		if (heaps[i].regions != heaps[i].first_regions)
			expected += pages(heaps[i].region_room * sizeof(struct region));
	}
	CHECK_MSG(live_cells() == cells_before, "%zu cells are live, not %zu", live_cells(),
		  cells_before);
	CHECK_MSG(slab_store.segments <= 1 + kernel.kept_segments,
		  "%zu segments after %zu refusals", slab_store.segments, kernel.kept_segments);
	/* The last segment stays. One that was there before the plan is not in kernel.mapped. */
	expected += (slab_store.segments - segments_before) * SEGMENT_SIZE;
	CHECK_MSG(kernel.mapped == expected + kernel.not_unmapped,
		  "%zu bytes mapped, %zu in use and %zu not unmapped", kernel.mapped, expected,
		  kernel.not_unmapped);
	heap_get_stats(HEAP_COURSE, &course);
	CHECK_MSG(kernel.raised <= course.region_bytes + course.reserve_bytes + 16,
		  "break raised by %zu, %zu in use", kernel.raised,
		  course.region_bytes + course.reserve_bytes);
}

/* Memory is there again: everything works, and everything can be given back. */
static void recover(size_t seed, size_t steps)
{
	no_more_faults();
	is_strict = true;
	run(seed, steps, 1);
	for (size_t i = 0; i < SLOTS; i++)
		if (slots[i].p)
			give_back(&slots[i], i);
	free_bulk();
	malloc_trim(0);
	check_heap();
	check_cells();
	check_leaks();
}

struct plan {
	size_t first, last, per_mille;
	size_t seed, steps;
	size_t check_every;
};

#define SCENARIO_SEED 7
#define SURE_CALLS 100 /* of every run of the scenario */

static void carry_out(void *arg)
{
	const struct plan *plan = arg;

	for (int i = 0; i < HEAP_COUNT; i++)
		live_before[i] = heaps[i].stats.live_blocks;
	cells_before = live_cells();
	segments_before = slab_store.segments;
	kernel.mapped = 0;
	kernel.calls = 0;
	kernel.first = plan->first;
	kernel.last = plan->last;
	kernel.per_mille = plan->per_mille;
	kernel.random = plan->seed;
	run(plan->seed, plan->steps, plan->check_every);
	recover(plan->seed + 1, 200);
	/* Sweeps come by the clock: the last calls of one run may not be made in another. */
	if (plan->first > plan->last && !plan->per_mille)
		CHECK(kernel.failures == 0);
	else if (plan->first < SURE_CALLS)
		CHECK(kernel.failures > 0);
}

/* In a child, which has the library untouched. */
static void try_plan(const struct plan *plan)
{
	struct plan copy = *plan;
	char err[512];
	int status = test_in_child(carry_out, &copy, err, sizeof(err));

	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* the child has said why */
	CHECK_MSG(status == 0, "calls %zu to %zu refused: signal %d, %s", plan->first, plan->last,
		  WTERMSIG(status), err);
}

#define SCENARIO_STEPS 500

/* The number of system calls of a run that nothing disturbs. */
static size_t scenario_calls(void)
{
	int fds[2];
	size_t calls = 0;
	pid_t pid;

	CHECK(pipe(fds) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO); /* malloc_stats */
		kernel.calls = 0;
		no_more_faults();
		run(SCENARIO_SEED, SCENARIO_STEPS, 1);
		calls = kernel.calls;
		_exit(write(fds[1], &calls, sizeof(calls)) != sizeof(calls));
	}
	CHECK(read(fds[0], &calls, sizeof(calls)) == sizeof(calls));
	CHECK(waitpid(pid, NULL, 0) == pid);
	CHECK_MSG(calls > SURE_CALLS, "only %zu calls", calls);
	return calls;
}

TEST(nothing_refused)
{
	try_plan(&(struct plan){.first = 1, .last = 0, .seed = 1, .steps = 3000, .check_every = 1});
}

TEST(one_call_refused)
{
	size_t calls = scenario_calls();

	test_timeout(180);
	for (size_t at = 1; at <= calls; at++)
		try_plan(&(struct plan){.first = at,
					.last = at,
					.seed = SCENARIO_SEED,
					.steps = SCENARIO_STEPS,
					.check_every = 4});
}

TEST(refused_for_ever_from_one_call_on)
{
	size_t calls = scenario_calls();

	test_timeout(180);
	for (size_t at = 1; at <= calls; at++)
		try_plan(&(struct plan){.first = at,
					.last = SIZE_MAX,
					.seed = SCENARIO_SEED,
					.steps = SCENARIO_STEPS,
					.check_every = 4});
}

static void refuse_at_random(size_t per_mille)
{
	test_timeout(180);
	for (size_t seed = 1; seed <= 2; seed++)
		try_plan(&(struct plan){.first = 1,
					.last = 0,
					.per_mille = per_mille,
					.seed = seed,
					.steps = 20000,
					.check_every = 8});
}

TEST(one_percent_refused)
{
	refuse_at_random(10);
}

TEST(half_refused)
{
	refuse_at_random(500);
}

TEST(nearly_all_refused)
{
	refuse_at_random(950);
}
