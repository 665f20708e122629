// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Fork at the worst moment: a child gets a copy of threads that it does not have, wherever they
 * are, and has to make whole what they were changing.
 *
 * 1. A thread is single-stepped through calls of every kind. Now and then it is copied between two
 *    instructions, and the child takes itself for another thread: all that the stepped one has was
 *    a stranger's. Or a signal handler forks there, in the only thread, and the child goes on with
 *    what that was doing.
 * 2. What is derived is overwritten with anything, one lock held at a time.
 * 3. Threads allocate and free at full speed while others fork.
 *
 * Each child runs all checkers, frees every object that it knows, allocates, and looks at what is
 * lost: not more than a thread has in its hands. FORK_STEPS of the environment is how many
 * instructions there are to a child on average.
 */

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "block.h"
#include "fork.h"
#include "harness.h"
#include "large.h"
#include "mapping.h"
#include "places.h"
#include "slab_core.h"
#include "tcache_core.h"

/* Random numbers, the same in every run; each thread has its own. */
/*
 * Objects that are known: p is set when what is in them says which one it is, and cleared before
 * they are freed.
 */
struct object {
	unsigned char *_Atomic p;
	size_t size;
};

#define OBJECTS 24 /* of a thread */
#define WORKERS 4

static struct object objects[WORKERS][OBJECTS];

/* Large cells soon fill and empty magazines, depots and slabs; then there are spans, mappings. */
static const size_t sizes[] = {16,    100,   1000,	8000,	   20000,    20000,   32000,  32000,
			       40000, 40000, 100 * KIB, 300 * KIB, SPAN_MAX, 3 * MIB, 5 * MIB};
#define SIZES_OF_CELLS 8 /* of these */

static size_t size_count = COUNT_OF(sizes);

static unsigned char mark_of(const struct object *o)
{
	return (unsigned char)(1 + (o - objects[0]) % 251);
}

static void publish(struct object *o, unsigned char *p, size_t size)
{
	CHECK(p);
	for (size_t at = 0; size <= 128 * KIB && at < size; at += 4096)
		p[at] = 0xff;
	p[0] = p[size / 2] = p[size - 1] = mark_of(o);
	o->size = size;
	o->p = p;
}

static unsigned char *take_back(struct object *o)
{
	unsigned char *p = o->p;

	CHECK(!p ||
	      (p[0] == mark_of(o) && p[o->size / 2] == mark_of(o) && p[o->size - 1] == mark_of(o)));
	o->p = NULL;
	return p;
}

static unsigned char *zeroed(size_t size)
{
	unsigned char *p = calloc(1, size);

	CHECK(p);
	for (size_t at = 0; at < size; at += 4096)
		CHECK(p[at] == 0);
	return p;
}

static void make(struct object *o, uint64_t *state)
{
	size_t size = sizes[random_below(state, size_count)];

	size -= random_below(state, size / 8);
	switch (random_below(state, 8)) {
	case 0:
		publish(o, zeroed(size), size);
		break;
	case 1:
		publish(o, memalign((size_t)16 << random_below(state, 13), size), size);
		break;
	default:
		publish(o, malloc(size), size);
	}
}

static void resize(struct object *o, uint64_t *state)
{
	size_t size = o->size / 2 + random_below(state, o->size + 100);
	unsigned char *p = take_back(o), *q = realloc(p, size);

	CHECK(q && q[0] == mark_of(o));
	publish(o, q, size);
}

static void step(struct object *own, uint64_t *state)
{
	struct object *o = &own[random_below(state, OBJECTS)];

	if (!o->p)
		make(o, state);
	else if (random_below(state, 5) == 0)
		resize(o, state);
	else
		free(take_back(o));
	if (random_below(state, 200) == 0)
		malloc_trim(0);
}

static void drop_all(void)
{
	for (size_t i = 0; i < WORKERS * OBJECTS; i++)
		free(take_back(&objects[0][i]));
}

/* What children look at. */

static const char *where = "";

static void check_all(const char *when)
{
	const char *fault = tcache_check();

	if (!fault)
		fault = block_check();
	CHECK_MSG(!fault, "%s, %s: %s", where, when, fault);
}

static void allocate_all(void)
{
	uint64_t state = 7;

	for (size_t i = 0; i < OBJECTS; i++)
		make(&objects[0][i], &state);
	for (size_t i = 0; i < OBJECTS; i += 3)
		resize(&objects[0][i], &state);
}

#define LIBC_CELLS 8 /* of its threads */

/* At most threads were doing something, and what they had in their hands is lost. */
static void check_lost(size_t threads)
{
	struct mapping_stats mappings;
	struct osmem_cell_stats cells;
	struct span_stats spans;
	struct tcache_stats caches;

	malloc_trim(0);
	slab_get_stats(&cells);
	span_get_stats(&spans);
	mapping_get_stats(&mappings);
	tcache_get_stats(&caches);
	CHECK_MSG(cells.live - caches.cached_cells <=
				  LIBC_CELLS + threads * (MAGAZINE_CELLS_MAX + 1) &&
			  spans.spans <= 2 * threads && mappings.count <= threads &&
			  mapping_kept_bytes() == 0,
		  "%s: %zu cells, %zu spans, %zu mappings are lost, and %zu bytes kept", where,
		  cells.live - caches.cached_cells, spans.spans, mappings.count,
		  mapping_kept_bytes());
}

static void __attribute__((noreturn)) look_and_end(size_t threads)
{
	test_timeout(20);
	check_all("at first");
	drop_all();
	check_all("after all was freed");
	check_lost(threads);
	allocate_all();
	check_all("after as many were made");
	drop_all();
	malloc_trim(0);
	check_all("in the end");
	check_lost(threads);
	_exit(0);
}

static void expect_good_end(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* the child has said why */
	CHECK_MSG(status == 0, "%s: a child was killed by signal %d", where, WTERMSIG(status));
}

/* What is left of fork(): the process is a copy, and its locks may be others'. */
static void become_child(void)
{
	fork_parent = (uint32_t)getppid();
	fork_check_slow();
	CHECK(!fork_parent);
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* From now on there are locks. */
static void have_had_a_thread(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

/* 1. Between any two instructions. */

#ifdef __x86_64__

extern char __executable_start, etext; /* the program's and the library's code */

static size_t steps_to_a_child = 400;
static uint64_t step_state = 1;
static size_t children, instructions;
static _Thread_local bool is_stepped;
static bool is_alone; /* children are of the handler's, and go on */
static bool is_child;

/* In a child of fork's kind it is another thread that goes on, and has no cache yet. */
static void __attribute__((noreturn)) be_the_child(void)
{
	is_stepped = false;
	signal(SIGTRAP, SIG_DFL);
	tcache_thread = (struct tcache_thread){.fast = (struct tcache *)(uintptr_t)&tcache_none};
	become_child();
	look_and_end(1);
}

static void copy_the_process(void)
{
	pid_t pid;

	children++;
	pid = is_alone ? fork() : (pid_t)syscall(SYS_fork); /* as if another thread did it */
	if (pid == 0 && !is_alone)
		be_the_child();
	if (pid == 0)
		is_child = true;
	else
		expect_good_end(pid);
}

static void on_step(int nr, siginfo_t *info, void *context)
{
	ucontext_t *stepped = context;
	uintptr_t at = (uintptr_t)stepped->uc_mcontext.gregs[REG_RIP];

	(void)nr, (void)info;
	if (at - (uintptr_t)&__executable_start >= (uintptr_t)(&etext - &__executable_start))
		return; /* in libc */
	instructions++;
	if (!is_child && !random_below(&step_state, steps_to_a_child))
		copy_the_process();
	if (is_child)
		stepped->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

static inline void steps_end(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; "
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
	is_stepped = false;
}

static inline void steps_begin(void)
{
	is_stepped = true;
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; "
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

/* The program's own, in the place of libc's: nobody wants to step through all bytes. */

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	bool was_stepped = is_stepped;
	void *at = to;

	if (was_stepped)
		steps_end();
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n)::"memory");
	if (was_stepped)
		steps_begin();
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	bool was_stepped = is_stepped;
	void *at = to;

	if (was_stepped)
		steps_end();
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(byte) : "memory");
	if (was_stepped)
		steps_begin();
	return to;
}

static void start_stepping(size_t usual)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	const char *given = getenv("FORK_STEPS");

	steps_to_a_child = given ? (size_t)atol(given) : usual;
	test_timeout(given ? 3600 : 120);
	if (!is_alone)
		have_had_a_thread();
	free(malloc(1));
	CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
}

static void expect_children(size_t least)
{
	if (getenv("FORK_STEPS"))
		dprintf(STDERR_FILENO, "%zu children in %zu instructions\n", children,
			instructions);
	CHECK_MSG(children >= least, "%zu children in %zu instructions", children, instructions);
}

/* Random calls, of which some are stepped through, when there is something of everything. */
static void step_through(const char *what, void (*call)(uint64_t *state), size_t calls)
{
	uint64_t state = 1;

	where = what;
	for (size_t i = 0; i < 500; i++)
		step(objects[0], &state);
	for (size_t i = 0; i < calls; i++) {
		for (size_t j = random_below(&state, 30); j > 0; j--)
			step(objects[0], &state);
		steps_begin();
		call(&state);
		steps_end();
		if (is_child)
			look_and_end(0);
	}
	check_all("in the parent");
	drop_all();
}

static void call_anything(uint64_t *state)
{
	step(objects[0], state);
}

static void call_trim(uint64_t *state)
{
	(void)state;
	malloc_trim(0);
}

static void call_sweep(uint64_t *state)
{
	(void)state;
	if (slab_begin_sweep())
		slab_end_sweep();
	mapping_sweep(0);
	tcache_look(tcache_thread.own);
}

TEST(between_instructions_of_calls)
{
	start_stepping(1200);
	step_through("calls", call_anything, 40);
	expect_children(20);
}

TEST(between_instructions_of_trims)
{
	start_stepping(1500);
	step_through("trims", call_trim, 1);
	expect_children(20);
}

/* What the kernel does not take, for it is locked; in children it is not. */
static void lock_and_trim(uint64_t *state)
{
	(void)state;
	munlockall();
	if (mlockall(MCL_CURRENT) == 0)
		malloc_trim(0);
}

TEST(between_instructions_of_trims_of_locked_pages)
{
	if (mlockall(MCL_CURRENT) || munlockall())
		test_skip("memory may not be locked");
	start_stepping(1500);
	step_through("locked", lock_and_trim, 1);
	expect_children(20);
}

TEST(between_instructions_of_sweeps)
{
	start_stepping(1000);
	slab_set_sweep_period(0);
	large_set_sweep_period(0);
	step_through("sweeps", call_sweep, 4);
	expect_children(20);
}

/* Spans alone: growing and shrinking in their place, and a thread's cache that is full. */
static void call_span(uint64_t *state)
{
	struct object *o = &objects[0][random_below(state, OBJECTS)];
	size_t size = 40000 + random_below(state, 60000);

	if (!o->p)
		publish(o, malloc(size), size);
	else if (random_below(state, 2))
		resize(o, state);
	else
		free(take_back(o));
}

TEST(between_instructions_of_spans)
{
	start_stepping(1000);
	step_through("spans", call_span, 40);
	expect_children(20);
}

/* Mappings alone, among so many that the table grows. */
static void call_mapping(uint64_t *state)
{
	struct object *o = &objects[random_below(state, WORKERS)][random_below(state, OBJECTS)];
	size_t size = SPAN_MAX + 1 + random_below(state, 8 * MIB);

	if (!o->p)
		publish(o, malloc(size), size);
	else if (random_below(state, 4) == 0 && o->size > SPAN_MAX)
		resize(o, state);
	else
		free(take_back(o));
}

TEST(between_instructions_of_mappings)
{
	start_stepping(1000);
	step_through("mappings", call_mapping, 40);
	expect_children(20);
}

/* Cells alone, of all sizes: clearing large objects takes too many steps. */
TEST(between_instructions_of_cells)
{
	size_count = SIZES_OF_CELLS;
	start_stepping(300);
	step_through("cells", call_anything, 60);
	expect_children(20);
}

/* Once more, in a process that is hardened from its first call on. */

TEST(between_instructions_hardened)
{
	char *arguments[] = {"forks", "between_instructions_of_cells", NULL}, said[1024];
	int status = test_again("hardened", arguments, said, sizeof(said));

	CHECK_MSG(status == 0 && strstr(said, "1 passed, 0 failed"), "%s", said);
}

/* In the only thread nothing is locked, and nothing may be lost. */
static void call_alone(uint64_t *state)
{
	if (random_below(state, 2))
		call_mapping(state);
	else
		call_anything(state);
}

TEST(between_instructions_of_the_only_thread)
{
	is_alone = true;
	start_stepping(300);
	step_through("alone", call_alone, 30);
	expect_children(20);
}

/* A thread's beginning, and its end: until the next destructor runs. */

static pthread_key_t after_key;

static void end_of_steps(void *arg)
{
	(void)arg;
	steps_end();
}

static void *begin_and_end(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	CHECK(pthread_setspecific(after_key, arg) == 0);
	steps_begin();
	for (int i = 0; i < 3; i++)
		step(objects[1], &state);
	steps_end();
	for (int i = 0; i < 300; i++)
		step(objects[1], &state);
	steps_begin();
	return NULL;
}

TEST(between_instructions_of_a_thread)
{
	uint64_t state = 1;

	start_stepping(1500);
	where = "thread";
	CHECK(pthread_key_create(&after_key, end_of_steps) == 0); /* the library's is before */
	for (int i = 0; i < 200; i++)
		step(objects[0], &state);
	for (uintptr_t i = 1; i <= 2; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, begin_and_end, (void *)i) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	check_all("in the parent");
	drop_all();
	expect_children(20);
}

/* A window is made. */
static void call_for_window(uint64_t *state)
{
	static size_t nr;

	(void)state;
	steps_end();
	take_last_window();
	steps_begin();
	publish(&objects[1][nr++], malloc(SPAN_MAX), SPAN_MAX);
}

TEST(between_instructions_of_windows)
{
	start_stepping(1000);
	step_through("windows", call_for_window, 20);
	CHECK(slab_first_window.next->next->next);
	expect_children(20);
}

#endif

/* 2. One lock held, and whatever is derived from what it guards is not to be believed. */

static void set_up(void)
{
	uint64_t state = 1;

	have_had_a_thread();
	for (size_t i = 0; i < 3000; i++)
		step(objects[0], &state);
	check_all("at first");
}

/* The same, where two windows are full. */
static void set_up_far(void)
{
	struct object *o = objects[1];

	free(malloc(1));
	for (int i = 0; i < 2; i++) {
		const struct window *last = last_window();

		for (take_last_window(); last == last_window(); o++)
			publish(o, malloc(SPAN_MAX), SPAN_MAX);
	}
	set_up();
}

static uint64_t noise = 99;

static void scramble(void *at, size_t size)
{
	unsigned char *byte = at;

	for (size_t i = 0; i < size; i++)
		byte[i] = (unsigned char)random_below(&noise, 256);
}

#define SCRAMBLE(lvalue) scramble(&(lvalue), sizeof(lvalue))

static void for_each_slab(unsigned int class, void (*visit)(struct slab *s))
{
	for (struct segment *g = NULL; (g = segment_next(SET_LIVE, g));)
		for (unsigned int slot = 1; slot < SEGMENT_SLOTS; slot++)
			if (g->cells >> slot & 1 && g->first[slot] == slot &&
			    g->slabs[slot].class == class)
				visit(&g->slabs[slot]);
}

static void scramble_slab(struct slab *s)
{
	SCRAMBLE(s->next);
	SCRAMBLE(s->prev);
	SCRAMBLE(s->bucket);
	SCRAMBLE(s->shard);
	SCRAMBLE(s->seal);
	SCRAMBLE(s->free);
	SCRAMBLE(s->summary);
	segment_set_bins(s, random_below(&noise, 2) ? slab_bin_of(s->class) : 0);
}

static void scramble_class(unsigned int class)
{
	slab_enter(class);
	SCRAMBLE(slab_class_states[class]);
	for_each_slab(class, scramble_slab);
}

/* In a child of the child's kind: fork's handler runs in it. */
static void expect_repair(void (*change)(unsigned int nr), unsigned int nr)
{
	pid_t pid = (pid_t)syscall(SYS_fork);

	if (pid == 0) {
		change(nr);
		become_child();
		look_and_end(0);
	}
	expect_good_end(pid);
}

TEST(each_class_is_rebuilt)
{
	where = "class";
	set_up();
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		if (slab_class_states[class].slabs)
			expect_repair(scramble_class, class);
}

static void scramble_segment(struct segment *g)
{
	struct window *w = window_of(g);
	struct segment_bits *bits = &w->bits[((uintptr_t)g - w->start) / SEGMENT_SIZE / 64];
	uint64_t live = bits->words[SET_LIVE];

	SCRAMBLE(g->seal);
	SCRAMBLE(g->used);
	SCRAMBLE(g->dirty);
	SCRAMBLE(g->runs);
	scramble(segment_bins(g), SEGMENT_SLOTS * sizeof(slab_bins[0]));
	SCRAMBLE(*bits);
	bits->words[SET_LIVE] = live;
}

static void scramble_store(unsigned int nr)
{
	(void)nr;
	store_lock();
	for (struct segment *g = NULL; (g = segment_next(SET_LIVE, g));)
		scramble_segment(g);
	SCRAMBLE(slab_store.segments);
	SCRAMBLE(slab_store.dirty_pages);
	SCRAMBLE(slab_store.span_pages);
	for (struct window *w = &slab_first_window; w; w = w->next)
		SCRAMBLE(w->summaries);
	SCRAMBLE(slab_store.run_classes);
	SCRAMBLE(slab_store.run_segments);
}

static void scramble_everything(unsigned int nr)
{
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		scramble_class(class);
	scramble_store(nr);
	SCRAMBLE(slab_store.sparse_slots);
	SCRAMBLE(slab_store.idle_slots);
}

TEST(the_store_is_rebuilt)
{
	where = "store";
	set_up();
	expect_repair(scramble_store, 0);
	where = "store and classes";
	expect_repair(scramble_everything, 0);
}

static void scramble_depots(unsigned int shard)
{
	depot_enter(shard);
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		struct depot *d = &magazine_shards[shard].depots[class];

		SCRAMBLE(d->full_count);
		SCRAMBLE(d->empty_count);
		SCRAMBLE(d->low);
	}
	SCRAMBLE(magazine_sizes[shard].bytes);
}

TEST(far_windows_are_rebuilt)
{
	set_up_far();
	where = "class in a far window";
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		if (slab_class_states[class].slabs)
			expect_repair(scramble_class, class);
	where = "everything in far windows";
	expect_repair(scramble_everything, 0);
}

TEST(depots_are_counted)
{
	where = "depots";
	set_up();
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		expect_repair(scramble_depots, shard);
}

static void scramble_caches(unsigned int nr)
{
	(void)nr;
	lock_acquire(&tcache_all.lock);
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next)
		SCRAMBLE(tc->prev);
	SCRAMBLE(tcache_all.count);
	SCRAMBLE(slab_shard_users);
}

static pthread_barrier_t barrier;

static void *live_until_told(void *arg)
{
	free(malloc(1));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return arg;
}

TEST(caches_are_counted)
{
	pthread_t threads[3];

	where = "caches";
	CHECK(pthread_barrier_init(&barrier, NULL, COUNT_OF(threads) + 1) == 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, live_until_told, NULL) == 0);
	pthread_barrier_wait(&barrier);
	set_up();
	expect_repair(scramble_caches, 0);
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Another thread has switched a mode on, and was about to tell this one. */
TEST(modes_are_told)
{
	pid_t pid;

	where = "modes";
	free(malloc(1));
	CHECK(tcache_thread.fast == tcache_thread.own);
	pid = (pid_t)syscall(SYS_fork);
	if (pid == 0) {
		tcache_all.modes |= TCACHE_COUNTS;
		become_child();
		CHECK(tcache_thread.fast == &tcache_none);
		look_and_end(0);
	}
	expect_good_end(pid);
}

/* What threads kept is not lost with them. */
static void *keep_everything(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	for (int i = 0; i < 2000; i++)
		step(objects[1], &state);
	for (size_t i = 0; i < OBJECTS; i++)
		free(take_back(&objects[1][i]));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

TEST(caches_of_other_threads_are_given_back)
{
	struct tcache_stats stats;
	pthread_t thread;
	pid_t pid;

	where = "others";
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, keep_everything, (void *)5) == 0);
	pthread_barrier_wait(&barrier);
	tcache_get_stats(&stats);
	CHECK(stats.cached_cells && stats.spans && stats.caches >= 1);
	pid = fork();
	if (pid == 0) {
		tcache_get_stats(&stats);
		CHECK(stats.caches <= 1 && !stats.spans);
		look_and_end(0);
	}
	expect_good_end(pid);
	pthread_barrier_wait(&barrier);
	CHECK(pthread_join(thread, NULL) == 0);
	check_all("in the parent");
}

/* 3. At full speed. */

static atomic_bool is_over;

static void *work(void *arg)
{
	uintptr_t nr = (uintptr_t)arg;
	uint64_t state = nr;

	while (!is_over)
		step(objects[nr], &state);
	return NULL;
}

/* Threads that come, allocate and go. */
static void *work_briefly(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	for (int i = 0; i < 100; i++)
		free(malloc(sizes[random_below(&state, COUNT_OF(sizes) - 2)]));
	return NULL;
}

static void *come_and_go(void *arg)
{
	for (uintptr_t i = (uintptr_t)arg; !is_over; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, work_briefly, (void *)i) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	return NULL;
}

#define FORKS 150

static void *fork_often(void *arg)
{
	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork();

		if (pid == 0)
			look_and_end(WORKERS + 2);
		expect_good_end(pid);
	}
	return arg;
}

TEST(at_full_speed)
{
	pthread_t workers[WORKERS], other;

	where = "full speed";
	test_timeout(120);
	for (uintptr_t i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&workers[i], NULL, i ? work : come_and_go, (void *)i) == 0);
	CHECK(pthread_create(&other, NULL, fork_often, NULL) == 0);
	fork_often(NULL);
	CHECK(pthread_join(other, NULL) == 0);
	is_over = true;
	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_join(workers[i], NULL) == 0);
	check_all("in the parent");
	drop_all();
	check_lost(0);
}
