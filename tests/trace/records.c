// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * The trace: what it has of each call, that its steps make the list, its bounds, what it survives.
 */

#include "tracefile.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "block/block.h"
#include "cache/tcache.h"
#include "inspect/inspect.h"
#include "osmem.h"
#include "trace/calls.h"
#include "trace/trace.h"

#define BOUND ((uint64_t)64 << 20)

static char path[64];

static void begin(uint64_t bound)
{
	snprintf(path, sizeof(path), "/tmp/osmem-trace-%d", (int)getpid());
	CHECK(trace_start(path, bound, 0));
	calls_set_mode(CALLS_TRACED, true);
	tcache_set_mode(TCACHE_TRACES, true);
}

static void stop_noting(void)
{
	tcache_set_mode(TCACHE_TRACES, false);
	calls_set_mode(CALLS_TRACED, false);
}

static void end(void)
{
	stop_noting();
	trace_stop();
}

/* The file, which is gone when the test is over. */
static struct tracefile result(void)
{
	struct tracefile t = tracefile_open(path);

	unlink(path);
	return t;
}

/* The only record of that kind and what. */
static struct trace_record only(const struct tracefile *t, unsigned int kind, unsigned int what)
{
	CHECK_MSG(tracefile_count(t, kind, what) == 1, "kind %u what %u: %zu records", kind, what,
		  tracefile_count(t, kind, what));
	for (size_t i = 0;; i++)
		if (t->records[i].kind == kind && t->records[i].what == what)
			return t->records[i];
}

static void expect_call(const struct tracefile *t, enum trace_name name, uint64_t a, uint64_t b,
			const void *c)
{
	struct trace_record r = only(t, TRACE_CALL, name);

	CHECK_MSG(r.a == a && r.b == b && r.c == (uintptr_t)c, "name %u: %lx %lx %lx", name,
		  (unsigned long)r.a, (unsigned long)r.b, (unsigned long)r.c);
	CHECK(r.thread == (uint32_t)gettid());
	CHECK((r.flags == TRACE_FAILED) == (!c && b && name != TRACE_FREE_SIZED));
}

/* ---- Calls ---- */

void *operator_new(size_t size) __asm__("_Znwm");
void operator_delete(void *p) __asm__("_ZdlPv");
void free_sized(void *p, size_t size);

TEST(every_libc_name_has_its_record)
{
	void *p[12], *moved;
	struct tracefile t;

	begin(BOUND);
	p[0] = malloc(100);
	p[1] = calloc(3, 5);
	p[2] = aligned_alloc(64, 10);
	p[3] = memalign(128, 11);
	CHECK(posix_memalign(&p[4], 256, 12) == 0);
	p[5] = valloc(13);
	p[6] = pvalloc(14);
	p[7] = operator_new(15);
	moved = realloc(p[0], 50000);
	free(p[2]);
	operator_delete(p[7]);
	free_sized(p[1], 15);
	malloc_trim(7);
	end();
	t = result();
	expect_call(&t, TRACE_MALLOC, 0, 100, p[0]);
	expect_call(&t, TRACE_CALLOC, 3, 5, p[1]);
	expect_call(&t, TRACE_ALIGNED_ALLOC, 64, 10, p[2]);
	expect_call(&t, TRACE_MEMALIGN, 128, 11, p[3]);
	expect_call(&t, TRACE_POSIX_MEMALIGN, 256, 12, p[4]);
	expect_call(&t, TRACE_VALLOC, t.header->page_size, 13, p[5]);
	expect_call(&t, TRACE_PVALLOC, t.header->page_size, t.header->page_size, p[6]);
	expect_call(&t, TRACE_NEW, 0, 15, p[7]);
	CHECK(only(&t, TRACE_ENTER, TRACE_REALLOC).a == (uintptr_t)p[0]);
	expect_call(&t, TRACE_REALLOC, (uintptr_t)p[0], 50000, moved);
	expect_call(&t, TRACE_FREE, (uintptr_t)p[2], 0, NULL);
	expect_call(&t, TRACE_DELETE, (uintptr_t)p[7], 0, NULL);
	expect_call(&t, TRACE_FREE_SIZED, (uintptr_t)p[1], 15, NULL);
	CHECK(only(&t, TRACE_CALL, TRACE_MALLOC_TRIM).a == 7);
}

TEST(refusals_are_marked)
{
	struct tracefile t;
	volatile size_t huge = SIZE_MAX / 2 + 1;

	begin(BOUND);
	CHECK(!malloc(huge) && !calloc(huge, 4) && !os_malloc(huge) && !os_calloc(huge, 4));
	CHECK(!os_malloc(0));
	end();
	t = result();
	expect_call(&t, TRACE_MALLOC, 0, huge, NULL);
	expect_call(&t, TRACE_CALLOC, huge, 4, NULL);
	expect_call(&t, TRACE_OS_CALLOC, huge, 4, NULL);
	CHECK(tracefile_count(&t, TRACE_CALL, TRACE_OS_MALLOC) == 2);
}

/* Also where the break is raised, after which the heap is looked at again. */
TEST(one_search_for_each_placement)
{
	struct tracefile t;

	begin(BOUND);
	for (size_t i = 0; i < 20; i++)
		CHECK(os_malloc(20000));
	end();
	t = result();
	CHECK(tracefile_count(&t, TRACE_STEP, TRACE_STEP_BRK) > 2);
	CHECK(tracefile_count(&t, TRACE_STEP, TRACE_STEP_SEARCH) == 20);
}

TEST(os_calls_enclose_their_steps)
{
	struct tracefile t;
	void *p;
	size_t i = 0;

	begin(BOUND);
	p = os_malloc(100);
	end();
	t = result();
	CHECK(t.records[i].kind == TRACE_ENTER && t.records[i].what == TRACE_OS_MALLOC);
	CHECK(t.records[++i].what == TRACE_STEP_BRK && t.records[i].b - t.records[i].a == 131072);
	CHECK(t.records[++i].what == TRACE_STEP_REGION && t.records[i].a == t.records[i - 1].a);
	CHECK(t.records[++i].what == TRACE_STEP_APPEND && t.records[i].b == 131040);
	CHECK(t.records[++i].what == TRACE_STEP_SEARCH && t.records[i].a == 104);
	CHECK(t.records[++i].what == TRACE_STEP_SPLIT && t.records[i].c == 130904);
	CHECK(t.records[++i].what == TRACE_STEP_USE && t.records[i].b == 104);
	CHECK(t.records[++i].kind == TRACE_CALL && t.records[i].c == (uintptr_t)p);
	CHECK(t.records[i - 1].a + 32 == (uintptr_t)p);
}

/* ---- Steps make the list ---- */

static size_t random_size(uint64_t *state, size_t small)
{
	size_t kind = random_next(state) % 64;

	return 1 + random_next(state) % (kind == 0 ? 300000 : kind < 4 ? 20000 : small);
}

static void one_call(void **p, uint64_t *state, size_t small)
{
	size_t i = random_next(state) % 400, size = random_size(state, small);

	switch (random_next(state) % 8) {
	case 0:
	case 1:
		p[i] = os_realloc(p[i], size);
		break;
	case 2:
		os_free(p[i]);
		p[i] = os_calloc(1, size);
		break;
	case 3:
		os_free(p[i]);
		p[i] = NULL;
		break;
	default:
		os_free(p[i]);
		p[i] = os_malloc(size);
		break;
	}
}

/* What of r the walk has met already. */
struct comparison {
	const struct replay *r;
	size_t seen;
};

static int compare_item(const struct osmem_item *item, void *arg)
{
	struct comparison *c = arg;
	const struct replay_block *b;

	if (item->heap != OSMEM_COURSE || (item->kind != OSMEM_BLOCK && item->kind != OSMEM_MAPPED))
		return 0;
	b = replay_find(c->r, (uintptr_t)item->start);
	CHECK_MSG(b->size == item->payload && b->status == item->status,
		  "block %#lx: %lu bytes, status %d; in the trace %lu, %d", (unsigned long)b->start,
		  (unsigned long)item->payload, item->status, (unsigned long)b->size, b->status);
	c->seen++;
	return 0;
}

static void compare(const struct replay *r)
{
	struct comparison c = {.r = r};

	CHECK(osmem_walk(compare_item, &c) == 0);
	CHECK_MSG(c.seen == r->count, "%zu blocks; in the trace %zu", c.seen, r->count);
}

/* Rounds of random calls, each followed by a comparison of the two lists. */
static void replay_random(uint64_t seed, size_t small)
{
	static void *p[400];
	struct tracefile t;
	struct replay r;
	size_t done = 0;

	replay_begin(&r, 100000);
	begin(BOUND);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 300; i++)
			one_call(p, &seed, small);
		t = tracefile_open(path);
		replay_all(&r, &t, done);
		done = t.count;
		tracefile_close(&t);
		compare(&r);
	}
	end();
	t = result();
	CHECK(t.header->dropped == 0 && t.header->end_time > 0);
	CHECK(t.bytes == t.header->header_size + t.header->next * sizeof(struct trace_record));
}

TEST(steps_make_the_list_of_small_blocks)
{
	replay_random(1, 200);
}

TEST(steps_make_the_list_of_mixed_blocks)
{
	replay_random(2, 3000);
}

/* The fast way and the traced one must leave the same heap to each other. */
TEST(tracing_may_begin_and_end_at_any_time)
{
	static void *p[400];
	uint64_t seed = 3;

	for (int round = 0; round < 20; round++) {
		begin(BOUND);
		for (int i = 0; i < 100; i++)
			one_call(p, &seed, 500);
		end();
		unlink(path);
		for (int i = 0; i < 100; i++)
			one_call(p, &seed, 500);
		CHECK(!osmem_check());
	}
}

/* Somebody moves the break: another region. */
TEST(steps_know_regions)
{
	struct tracefile t;
	struct replay r;

	replay_begin(&r, 100);
	begin(BOUND);
	CHECK(os_malloc(1000));
	CHECK(sbrk(4096) != (void *)-1);
	CHECK(os_malloc(131000));
	end();
	t = result();
	CHECK(tracefile_count(&t, TRACE_STEP, TRACE_STEP_REGION) == 2);
	replay_all(&r, &t, 0);
	compare(&r);
}

TEST(a_snapshot_is_the_list)
{
	static void *p[400];
	struct tracefile t;
	struct replay r;
	uint64_t seed = 4;

	for (int i = 0; i < 2000; i++)
		one_call(p, &seed, 2000);
	begin(BOUND);
	inspect_trace_snapshot(TRACE_AT_START);
	end();
	t = result();
	replay_begin(&r, 100000);
	for (size_t i = 0; i < t.count; i++) {
		const struct trace_record *s = &t.records[i];

		if (s->what != TRACE_HEAP_COURSE)
			continue;
		if (s->kind == TRACE_SNAP_BLOCK)
			replay_insert(&r, s->a, s->b, (int)s->c);
		else if (s->kind == TRACE_SNAP_MAPPED)
			replay_insert(&r, s->a, s->b, 2);
	}
	compare(&r);
	CHECK(tracefile_count(&t, TRACE_SNAP_BEGIN, TRACE_AT_START) == 1);
	CHECK(only(&t, TRACE_SNAP_END, TRACE_AT_START).a > r.count);
}

/* ---- Threads ---- */

#define THREADS 4
#define PAIRS 5000

static void *allocate_and_free(void *arg)
{
	(void)arg;
	for (int i = 0; i < PAIRS; i++) {
		void *p = malloc(64), *q = os_malloc(64);

		free(p);
		os_free(q);
	}
	return NULL;
}

/* No address is handed out while another call has it: the order of records is one that can be. */
static void check_order(const struct tracefile *t, unsigned int alloc, unsigned int free_name)
{
	uint64_t live[2 * THREADS] = {0};

	for (size_t i = 0; i < t->count; i++) {
		const struct trace_record *r = &t->records[i];
		uint64_t want = r->what == alloc ? 0 : r->a, with = r->what == alloc ? r->c : 0;
		size_t k = 0;

		if (r->kind != TRACE_CALL || (r->what != alloc && r->what != free_name) ||
		    (r->what == alloc && r->b != 64))
			continue;
		for (size_t j = 0; with && j < 2 * THREADS; j++)
			CHECK(live[j] != with);
		while (k < 2 * THREADS && live[k] != want)
			k++;
		if (k < 2 * THREADS)
			live[k] = with;
		else
			CHECK_MSG(!with, "more live blocks than threads");
	}
}

TEST(threads_write_side_by_side)
{
	pthread_t thread[THREADS];
	struct tracefile t;
	struct replay r;
	size_t finished = 0;

	replay_begin(&r, 1000);
	begin(BOUND);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&thread[i], NULL, allocate_and_free, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
	end();
	t = result();
	for (size_t i = 0; i < t.count; i++)
		finished += t.records[i].kind != 0;
	CHECK(t.header->dropped == 0 && finished == t.header->next);
	CHECK(tracefile_count(&t, TRACE_CALL, TRACE_FREE) >= (size_t)THREADS * PAIRS);
	CHECK(tracefile_count(&t, TRACE_CALL, TRACE_OS_FREE) == (size_t)THREADS * PAIRS);
	check_order(&t, TRACE_MALLOC, TRACE_FREE);
	replay_all(&r, &t, 0);
	compare(&r);
}

/* ---- Bounds, and what can go wrong ---- */

static void many_calls(int n)
{
	for (int i = 0; i < n; i++)
		free(malloc(24));
}

TEST(a_trace_is_bounded)
{
	uint64_t bound = 200000;
	struct tracefile t;

	begin(bound);
	many_calls(10000);
	inspect_trace_snapshot(TRACE_AT_EXIT);
	end();
	t = result();
	CHECK(t.bytes <= bound && t.header->capacity == (bound - TRACE_HEADER_SIZE) / 40);
	CHECK(t.header->dropped + t.header->next >= 20000);
	CHECK(t.header->next <= t.header->capacity);
	/* What is kept for snapshots is there for them. */
	CHECK(tracefile_count(&t, TRACE_SNAP_END, TRACE_AT_EXIT) == 1);
}

TEST(a_trace_without_room_has_none)
{
	struct tracefile t;

	begin(100);
	many_calls(10);
	end();
	t = result();
	CHECK(t.count == 0 && t.header->dropped == 20);
}

/* A limit on the size of files ends the trace, not the program. */
TEST(a_limit_of_files_is_kept)
{
	struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
	struct tracefile t;

	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	begin(BOUND);
	many_calls(20000);
	end();
	t = result();
	CHECK(t.bytes <= 1 << 20 && t.count == 16384 && t.header->dropped > 20000);
}

static bool has_not_grown(const char *name)
{
	struct stat st;

	return stat(name, &st) == 0 && st.st_size == 0;
}

/* The program may close everything, and have the number for a file of its own. */
static void close_all_and_trace(void *arg)
{
	char other[80];

	(void)arg;
	begin(BOUND);
	snprintf(other, sizeof(other), "%s-other", path);
	if (syscall(SYS_close_range, 3L, ~0uL, 0L) != 0)
		_exit(2);
	for (int i = 0; i < 520; i++)
		if (open(other, O_RDWR | O_CREAT, 0600) < 0)
			_exit(3);
	many_calls(20000);
	end();
	if (!has_not_grown(other))
		_exit(4);
	unlink(other);
	rename(path, arg);
	_exit(0);
}

TEST(closed_descriptors_are_found_again)
{
	char name[64], text[100];
	struct tracefile t;
	int status;

	snprintf(name, sizeof(name), "/tmp/osmem-trace-%d-kept", (int)getpid());
	status = test_in_child(close_all_and_trace, name, text, sizeof(text));
	CHECK_MSG(status == 0, "status %x", status);
	strcpy(path, name);
	t = result();
	CHECK(t.header->dropped == 0 && t.count >= 40000);
	CHECK(tracefile_count(&t, TRACE_CALL, TRACE_FREE) >= 20000);
}

static void trace_and_abort(void *arg)
{
	(void)arg;
	many_calls(1000);
	abort();
}

TEST(what_was_written_survives_abort)
{
	char text[100];
	struct tracefile t;
	int status;

	begin(BOUND);
	status = test_in_child(trace_and_abort, NULL, text, sizeof(text));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	t = tracefile_open(path);
	CHECK(t.header->end_time == 0);
	CHECK(tracefile_count(&t, TRACE_CALL, TRACE_FREE) >= 1000);
	end();
	unlink(path);
}

TEST(a_file_is_traced_into_once)
{
	int status;
	pid_t pid;

	begin(BOUND);
	pid = fork();
	if (pid == 0) {
		trace_abandon();
		stop_noting();
		_exit(trace_start(path, BOUND, 0) || errno != EWOULDBLOCK);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	end();
	unlink(path);
}

TEST(errno_is_preserved)
{
	begin(BOUND);
	for (int i = 0; i < 20000; i++) {
		errno = 77;
		os_free(os_malloc(10));
		CHECK(errno == 77);
	}
	end();
	unlink(path);
}
