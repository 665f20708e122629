// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/*
 * The kernel refuses in the middle of one thing: a realloc, the start or the end of a thread, a
 * fork, a message. Nothing is lost, and nothing that needs no memory fails.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "osmem.h"
#include "refusals.h"
#include "slab/slab_core.h"

/* Contents: every 512th byte and the last, so that large blocks are not all page faults. */

static void fill(unsigned char *p, size_t size, size_t seed)
{
	for (size_t i = 0; i < size; i += 512)
		p[i] = (unsigned char)(i / 512 + seed);
	p[size - 1] = (unsigned char)seed;
}

static bool holds(const unsigned char *p, size_t size, size_t kept, size_t seed)
{
	for (size_t i = 0; i < kept; i += 512)
		if (i != size - 1 && p[i] != (unsigned char)(i / 512 + seed))
			return false;
	return kept < size || p[size - 1] == (unsigned char)seed;
}

/* ---- realloc ---- */

static void *by_malloc(size_t size)
{
	return malloc(size);
}

static void *by_memalign(size_t size)
{
	return memalign(64 * KIB, size);
}

static const struct family {
	const char *name;
	void *(*get)(size_t size);
	void *(*resize)(void *p, size_t size);
	void (*give_back)(void *p);
	bool is_course;
} families[] = {
	{"malloc", by_malloc, realloc, free, false},
	{"memalign", by_memalign, realloc, free, false},
	{"os_malloc", os_malloc, os_realloc, os_free, true},
};

/* Cells, blocks and mappings. */
static const size_t sizes[] = {1, 100, 9000, 33000, 100000, 300000, 900000};

/* Every size again, so that there is something free here and something live there. */
static void *litter[2][COUNT_OF(sizes)];

static void make_litter(const struct family *f)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		void *p = f->get(sizes[i]);

		litter[0][i] = f->get(sizes[i]);
		litter[1][i] = f->get(100);
		CHECK(p && litter[0][i] && litter[1][i]);
		f->give_back(p);
	}
}

static void sweep_litter(const struct family *f)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		f->give_back(litter[0][i]);
		f->give_back(litter[1][i]);
	}
}

/* The calls from first to last of a realloc are refused; whether any was made. */
static bool resize_refused(const struct family *f, size_t from, size_t to, size_t first,
			   size_t last)
{
	size_t kept = from < to ? from : to, capacity = 0, failures;
	unsigned char *p = f->get(from), *q;

	CHECK(p);
	fill(p, from, 3);
	if (!f->is_course)
		capacity = malloc_usable_size(p);
	refuse(first, last);
	errno = 0;
	q = f->resize(p, to);
	failures = kernel.failures;
	refuse_nothing();
	if (!q) {
		CHECK_MSG(failures && errno == ENOMEM, "%s: %zu to %zu: errno %d", f->name, from,
			  to, errno);
		CHECK_MSG(f->is_course || to > capacity, "%s: %zu shrinks to %zu and fails",
			  f->name, from, to);
		CHECK(f->is_course || malloc_usable_size(p) == capacity);
		CHECK(holds(p, from, from, 3));
		q = f->resize(p, to);
	}
	CHECK_MSG(q && holds(q, from, kept, 3), "%s: %zu to %zu", f->name, from, to);
	fill(q, to, 5);
	if (failures)
		check_all();
	f->give_back(q);
	return failures;
}

static void refuse_each(const struct family *f, size_t from, size_t to)
{
	for (size_t at = 1; resize_refused(f, from, to, at, at); at++)
		;
	for (size_t at = 1; resize_refused(f, from, to, at, SIZE_MAX); at++)
		;
}

static void refuse_in_realloc(void)
{
	note_live();
	for (size_t i = 0; i < COUNT_OF(families); i++) {
		make_litter(&families[i]);
		for (size_t from = 0; from < COUNT_OF(sizes); from++)
			for (size_t to = 0; to < COUNT_OF(sizes); to++)
				refuse_each(&families[i], sizes[from], sizes[to]);
		sweep_litter(&families[i]);
	}
	check_nothing_lost();
}

/* Where freed mappings become regions, and later ones are blocks. */
TEST(in_the_middle_of_realloc)
{
	refuse_in_realloc();
}

TEST(in_the_middle_of_realloc_of_mappings)
{
	mallopt(M_MMAP_THRESHOLD, 128 * KIB);
	refuse_in_realloc();
}

/* ---- Threads ---- */

#define OWN 400

static struct {
	size_t first, last; /* calls refused to the thread, from its start to its very end */
	bool may_fail;
	unsigned char *blocks[OWN]; /* what it leaves */
} thread_plan;

static size_t size_in_thread(size_t i)
{
	return 1 + (i % 40 ? i * 53 % 1200 : i * 9000);
}

/* Some blocks stay, for another thread to free. */
static void *live_and_end(void *arg)
{
	(void)arg;
	refuse(thread_plan.first, thread_plan.last);
	for (size_t i = 0; i < OWN; i++) {
		unsigned char *p = malloc(size_in_thread(i));

		CHECK(p || thread_plan.may_fail);
		if (p)
			fill(p, size_in_thread(i), i);
		thread_plan.blocks[i] = p;
	}
	for (size_t i = 0; i < OWN; i += 3) {
		unsigned char *p = thread_plan.blocks[i];

		CHECK(!p || holds(p, size_in_thread(i), size_in_thread(i), i));
		free(p);
		thread_plan.blocks[i] = NULL;
	}
	return NULL;
}

static void free_what_is_left(void)
{
	for (size_t i = 0; i < OWN; i++) {
		unsigned char *p = thread_plan.blocks[i];

		CHECK(!p || holds(p, size_in_thread(i), size_in_thread(i), i));
		free(p);
		thread_plan.blocks[i] = NULL;
	}
}

/* The failures. */
static size_t one_thread(size_t first, size_t last)
{
	size_t failures;
	pthread_t thread;

	thread_plan.first = first;
	thread_plan.last = last;
	thread_plan.may_fail = first <= last;
	CHECK(pthread_create(&thread, NULL, live_and_end, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	failures = kernel.failures;
	refuse_nothing();
	free_what_is_left();
	malloc_trim(0);
	return failures;
}

/* Refuse each call, alone or with all that follow; how many there were. */
static size_t refuse_each_in_thread(bool for_ever)
{
	size_t at = 1;

	while (one_thread(at, for_ever ? SIZE_MAX : at)) {
		check_nothing_lost();
		at++;
	}
	return at - 1;
}

TEST(in_the_middle_of_a_thread)
{
	one_thread(1, 0); /* what libc allocates for its stack stays */
	note_live();
	CHECK(refuse_each_in_thread(false) > 1);
	CHECK(refuse_each_in_thread(true) > 1);
	one_thread(1, 0);
	check_nothing_lost();
}

/* Thread-specific data: where libc has no room for it, nobody would give the cache back. */

static bool is_specific_refused;

int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);

int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
	return is_specific_refused && value ? ENOMEM : __real_pthread_setspecific(key, value);
}

TEST(thread_without_room_for_its_destructor)
{
	one_thread(1, 0);
	note_live();
	is_specific_refused = true;
	for (int i = 0; i < 5; i++)
		one_thread(1, 0);
	is_specific_refused = false;
	one_thread(1, 0);
	check_nothing_lost();
}

/* ---- Fork ---- */

static void expect_good_end(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* the child has said why */
	CHECK_MSG(status == 0, "a child was killed by signal %d", WTERMSIG(status));
}

static atomic_bool is_over;

/* Allocates, mostly little, and keeps nothing. */
static void *churn(void *arg)
{
	size_t seed = (size_t)arg;
	void *p[64] = {0};

	for (size_t nr = seed; !is_over; nr++) {
		size_t i = nr * 7 % COUNT_OF(p);

		if (nr % 5 == 0) {
			void *q = realloc(p[i], 1 + nr % 3000);

			p[i] = q ? q : p[i];
			continue;
		}
		free(p[i]);
		p[i] = malloc(nr % 50 ? nr * 31 % 900 : nr % 70000);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	return NULL;
}

/* At first without memory; then everything that could be is freed, but the threads' own blocks. */
static void child_of_refused_fork(void)
{
	void *p[100];

	alarm(30 * test_patience());
	refuse(1, SIZE_MAX);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = malloc(1 + i * i * 7);
	free_what_is_left();
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	malloc_trim(0);
	check_all();
	refuse_nothing();
	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = malloc(1 + i * i * 7)) != NULL);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	malloc_trim(0);
	check_all();
	_exit(0);
}

static void make_blocks(void)
{
	for (size_t i = 0; i < OWN; i++) {
		CHECK((thread_plan.blocks[i] = malloc(size_in_thread(i))) != NULL);
		fill(thread_plan.blocks[i], size_in_thread(i), i);
	}
}

/* Fork among threads that allocate and are refused half of what they ask the kernel for. */
TEST(in_the_middle_of_fork)
{
	pthread_t threads[3];

	one_thread(1, 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, churn, (void *)(i * 1000)) == 0);
	is_over = true;
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	is_over = false;
	malloc_trim(0);
	note_live();
	make_blocks();
	refuse_at_random(500, 1);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, churn, (void *)(i * 1000)) == 0);
	for (int i = 0; i < 15; i++) {
		pid_t pid;

		usleep(500);
		pid = fork();
		if (pid == 0)
			child_of_refused_fork();
		expect_good_end(pid);
	}
	is_over = true;
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	refuse_nothing();
	free_what_is_left();
	check_nothing_lost();
}

/* ---- Segments ---- */

#define WIDE 20000 /* a cell, of which a segment has few */

static bool is_cell(void *p)
{
	return slab_find(p).state == CELL_LIVE;
}

/*
 * Where no segment can be had and blocks must do, the kernel is not asked again for each of them.
 */
TEST(refused_segments_are_asked_for_seldom)
{
	static void *p[2000];
	size_t n = 0, asked;

	free(malloc(100000)); /* a region */
	while (n < COUNT_OF(p) && (n == 0 || slab_store.segments == 1))
		CHECK((p[n++] = malloc(WIDE)) != NULL);
	CHECK(slab_store.segments == 2);
	refuse(1, SIZE_MAX);
	while (n < COUNT_OF(p) && is_cell(p[n - 1]))
		CHECK((p[n++] = malloc(WIDE)) != NULL);
	for (int i = 0; i < 1000; i++)
		free(malloc(WIDE));
	asked = kernel.calls;
	CHECK_MSG(asked < 100, "%zu calls", asked);
	refuse_nothing();
	for (int i = 0; i < 100; i++)
		CHECK((p[n++] = malloc(WIDE)) != NULL);
	CHECK(is_cell(p[n - 1]) && slab_store.segments > 2);
	check_all();
}

/* ---- Pages of sparse slabs ---- */

#define SPARSE 10 /* slabs */

static void sweep_pages(void)
{
	slab_sweep_period_ms = 0;
	for (int i = 0; i < 2; i++) { /* every other one looks at pages */
		CHECK(slab_begin_sweep(false));
		slab_end_sweep();
	}
	check_all();
}

/*
 * What the kernel does not take stays and is worth no watch. A sweep offers it page by page, once,
 * and a trim offers it again.
 */
TEST(refused_pages_of_sparse_slabs)
{
	unsigned int class = class_of_size(KIB), capacity;
	static void *p[SPARSE * SLAB_SIZE / KIB];
	size_t asked;

	test_needs_small_pages();
	free(malloc(1));
	capacity = slab_classes[class].capacity;
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		CHECK(slab_take_locked(class, 0, &p[i], 1, NULL) == 1);
		fill(p[i], KIB, i);
		if (i % capacity)
			*cell_word(p[i]) = CELL_FREED;
	}
	for (size_t i = 0; i < COUNT_OF(p); i += capacity)
		slab_give_locked(class, p + i + 1, capacity - 1);
	sweep_pages();
	CHECK(slab_store.sparse_slots >= SPARSE);
	refuse(1, SIZE_MAX);
	sweep_pages();
	CHECK(kernel.calls <= SPARSE * (SLAB_SIZE / sys_page_size() + 2));
	for (int i = 1; i < 5; i++) {
		CHECK(slab_store.sparse_slots == 0 && slab_dirty_bytes() == 0);
		asked = kernel.calls;
		sweep_pages();
		CHECK_MSG(kernel.calls == asked, "%zu calls", kernel.calls - asked);
	}
	CHECK(!slab_trim() && slab_dirty_bytes() == 0);
	refuse_nothing();
	CHECK(slab_trim());
	CHECK(slab_store.sparse_slots == 0);
	for (size_t i = 0; i < COUNT_OF(p); i += capacity)
		CHECK(holds(p[i], KIB, KIB, i));
	CHECK(((char *)p[capacity / 2])[512] == 0);
}

/* ---- Messages ---- */

static enum {
	PIECEMEAL,
	BROKEN
} writing; /* how write works */

static ssize_t unreliable_write(int fd, const void *text, size_t len)
{
	static int calls;

	if (writing == BROKEN || calls++ % 2 == 0) {
		errno = writing == BROKEN ? EIO : EINTR;
		return -1;
	}
	return write(fd, text, len < 5 ? len : 5);
}

static void free_twice(void *p)
{
	writing = PIECEMEAL;
	kernel.write = unreliable_write;
	os_free(p);
	os_free(p);
}

static void free_twice_unheard(void *p)
{
	writing = BROKEN;
	kernel.write = unreliable_write;
	os_free(p);
	os_free(p);
}

TEST(messages_that_are_written_piecemeal)
{
	void *p = os_malloc(100);
	char line[100], err[100];
	int status;

	snprintf(line, sizeof(line), "osmem: os_free(0x%lx): this block is already free",
		 (unsigned long)(uintptr_t)p);
	EXPECT_ABORT(free_twice, p, line);
	status = test_in_child(free_twice_unheard, p, err, sizeof(err));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && !err[0]);
}
