// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * OSMEM_OPTIONS=misuse=warn: what wrong calls return, which lines they print, and that nothing of
 * the program changes. The program starts itself again with the option.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block_meta.h"
#include "harness.h"
#include "osmem.h"
#include "osmem_inspect.h"
#include "pointers.h"

#define LINES_MAX 100
#define THREADS 4

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);
void operator_delete(void *p) __asm__("_ZdlPv");
void operator_delete_array(void *p) __asm__("_ZdaPv");
void operator_delete_sized(void *p, size_t size) __asm__("_ZdlPvm");
void operator_delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t");
void operator_delete_sized_aligned(void *p, size_t size,
				   size_t align) __asm__("_ZdlPvmSt11align_val_t");

__attribute__((constructor)) static void start_again(void)
{
	test_start_again("misuse=warn");
}

static const size_t sizes[] = {16, 100, 1024, 5000, CELL_MAX, 100000, 1 << 20, 5 << 20};

#define EACH_SIZE(i) for (size_t i = 0; i < COUNT_OF(sizes); i++)

static char said[1 << 20];

/* Reports name a call and its pointer; the lines of stacks, where there are any, do not. */
static size_t count_lines(void)
{
	size_t n = 0;

	for (const char *at = said; (at = strstr(at, "(0x")); at++)
		n++;
	return n;
}

/* body says n lines, and the heaps are in order afterwards. */
static void checked(void *arg)
{
	void (**body)(void) = arg;
	const char *fault;

	(*body)();
	fault = osmem_check();
	CHECK_MSG(!fault, "%s", fault);
}

static void expect_lines(void (*body)(void), size_t n)
{
	int status = test_in_child(checked, &body, said, sizeof(said));

	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it %s, and said %.300s",
		  test_ending(status), said);
	CHECK_MSG(count_lines() == n, "%zu lines, not %zu: %.300s", count_lines(), n, said);
}

/* ---- Lines ---- */

static void two_sites(void)
{
	char *p = malloc(100), *q = os_malloc(100);

	free(p);
	os_free(q);
	for (int i = 0; i < 1000; i++) {
		free(p);
		os_free(q);
	}
}

TEST(each_site_has_one_line)
{
	expect_lines(two_sites, 2);
	CHECK(strstr(said, "osmem: free(0x") && strstr(said, "osmem: os_free(0x"));
	CHECK(!strstr(said, "further"));
}

#define TEN(call) call call call call call call call call call call

static void many_sites(void)
{
	char *p = malloc(100);

	free(p);
	TEN(TEN(free(p);))
	TEN(free(p);)
}

/* The last one says that it is. */
TEST(lines_are_limited)
{
	static const char last[] = ": this block is already free; further misuse is not reported\n";

	expect_lines(many_sites, LINES_MAX);
	CHECK(strstr(said, "further") == strstr(said, "; further misuse") + 2);
	CHECK(!strcmp(said + strlen(said) - strlen(last), last));
}

static void a_child_too(void)
{
	char *p = malloc(100);
	int status;

	free(p);
	free(p);
	if (fork() == 0) {
		free(p);
		free(malloc(10));
		_exit(osmem_check() ? 1 : 0);
	}
	CHECK(wait(&status) > 0 && status == 0);
}

TEST(children_go_on)
{
	expect_lines(a_child_too, 2);
}

/* ---- What calls do ---- */

static char *objects[COUNT_OF(sizes)];

static void make_objects(void)
{
	EACH_SIZE(i)
	{
		objects[i] = malloc(sizes[i]);
		CHECK(objects[i]);
		memset(objects[i], (int)i + 1, sizes[i]);
	}
}

static void require_objects(void)
{
	EACH_SIZE(i)
	{
		for (size_t at = 0; at < sizes[i]; at++)
			CHECK(objects[i][at] == (char)(i + 1));
	}
}

/* A pointer that is none of ours, into an object, or to a freed one. */
static void call_all(char *p)
{
	errno = 77;
	free(p);
	free_sized(p, 100);
	free_aligned_sized(p, 64, 100);
	operator_delete(p);
	operator_delete_array(p);
	operator_delete_sized(p, 100);
	operator_delete_aligned(p, 64);
	operator_delete_sized_aligned(p, 100, 64);
	CHECK(errno == 77);
	CHECK(!realloc(p, 200) && errno == EINVAL);
	errno = 0;
	CHECK(!realloc(p, 6 << 20) && errno == EINVAL);
	errno = 0;
	CHECK(!reallocarray(p, 3, 7) && errno == EINVAL);
	CHECK(!realloc(p, 0));
	errno = 77;
	CHECK(malloc_usable_size(p) == 0);
	os_free(p);
	CHECK(errno == 77);
	CHECK(!os_realloc(p, 200) && errno == EINVAL);
}

static void call_with_bad_pointers(void)
{
	static char none[64] __attribute__((aligned(64)));
	char freed_block[64] __attribute__((aligned(64)));

	make_objects();
	EACH_SIZE(i)
	{
		char *p = malloc(sizes[i]);

		call_all(objects[i] + 8);
		if (sizes[i] > 16)
			call_all(objects[i] + 16);
		free(p);
		call_all(p);
	}
	call_all(none);
	call_all(freed_block);
	call_all((char *)64);
	require_objects();
	EACH_SIZE(i) free(objects[i]);
}

/* As many lines as there are calls in call_all. */
TEST(bad_pointers_do_nothing)
{
	expect_lines(call_with_bad_pointers, 15);
}

static void call_with_wrong_sizes(void)
{
	make_objects();
	EACH_SIZE(i)
	{
		free_sized(objects[i], 8 * sizes[i] + 8192);
		free_aligned_sized(objects[i], 16, 8 * sizes[i] + 8192);
		operator_delete_sized(objects[i], 8 * sizes[i] + 8192);
		operator_delete_aligned(objects[i], 1 << 30);
		operator_delete_sized_aligned(objects[i], sizes[i], 1 << 30);
	}
	require_objects();
	EACH_SIZE(i) free_sized(objects[i], sizes[i]);
}

TEST(wrong_sizes_do_nothing)
{
	expect_lines(call_with_wrong_sizes, 5);
}

/* Where cells of these sizes could be, but never were, or are no more. */
static void free_all_around(void)
{
	static const size_t rare[] = {304, 720, 1008, 2304, 4608, 20480};

	for (size_t i = 0; i < COUNT_OF(rare); i++) {
		char *p = malloc(rare[i]), *q = malloc(rare[i]), *start;

		CHECK(p && q && malloc_usable_size(p) == rare[i]);
		start = p - (uintptr_t)p % 65536;
		free(q);
		for (size_t at = 0; at < 65536; at += rare[i])
			if (start + at != p)
				free(start + at);
		free(p);
	}
}

TEST(what_never_was_is_not_freed)
{
	expect_lines(free_all_around, 1);
}

static void misuse_blocks(void)
{
	char *p[3], *mapped = os_malloc(1 << 20);

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = memset(os_malloc(1000), 'x', 1000);
	os_free(p[1] + 8);
	os_free(p[1]);
	os_free(p[1]);
	os_free(mapped + 16);
	os_free(mapped);
	os_free(mapped);
	CHECK(os_realloc(p[1], 10) == NULL); /* a rule of the course: no misuse */
	for (size_t i = 0; i < 1000; i++)
		CHECK(p[0][i] == 'x' && p[2][i] == 'x');
	os_free(p[0]);
	os_free(p[2]);
}

TEST(blocks_stay)
{
	expect_lines(misuse_blocks, 4);
}

/* The mark of a free cell may be the user's own data. */
static void use_marks(void)
{
	uint64_t *p = malloc(64), *q = malloc(64), mark;

	free(q);
	mark = *(volatile uint64_t *)q;
	*p = mark;
	free(p);
	free(p);
}

TEST(a_mark_may_be_data)
{
	expect_lines(use_marks, 1);
}

/* ---- Threads ---- */

static struct {
	pthread_barrier_t barrier;
	char *p; /* all threads free it at the same time */
	size_t size;
} race;

static void *free_together(void *arg)
{
	for (int round = 0; round < 300; round++) {
		pthread_barrier_wait(&race.barrier);
		free(race.p);
		pthread_barrier_wait(&race.barrier);
		/* Each thread allocates what its cache has got. */
		char *q = malloc(race.size), *r = malloc(race.size);

		CHECK(q && r && q != r);
		memset(q, (int)(intptr_t)arg, race.size < 64 ? race.size : 64);
		memset(r, -1, 16);
		pthread_barrier_wait(&race.barrier);
		CHECK(q[8] == (char)(intptr_t)arg && q[15] == (char)(intptr_t)arg && r[9] == -1);
		free(q);
		free(r);
		pthread_barrier_wait(&race.barrier);
		if ((intptr_t)arg == 1)
			race.p = malloc(race.size);
	}
	return NULL;
}

static void free_in_threads(void)
{
	pthread_t threads[THREADS];

	EACH_SIZE(i)
	{
		race.size = sizes[i];
		race.p = malloc(race.size);
		pthread_barrier_init(&race.barrier, NULL, THREADS);
		for (intptr_t t = 0; t < THREADS; t++)
			CHECK(!pthread_create(&threads[t], NULL, free_together, (void *)(t + 1)));
		for (intptr_t t = 0; t < THREADS; t++)
			pthread_join(threads[t], NULL);
		free(race.p);
	}
}

/* Of several threads that free an object at the same time, one frees it. */
TEST(threads_free_once)
{
	test_timeout(120);
	expect_lines(free_in_threads, 1);
}

/* ---- Damage ---- */

static void overwrite_header(void *arg)
{
	char *p = os_malloc(100);

	(void)arg;
	memset(p - sizeof(struct block_meta), 0x5a, sizeof(struct block_meta));
	os_free(p);
}

static void overwrite_mark(void *arg)
{
	char *p[200];

	(void)arg;
	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = malloc(48);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		*(volatile char *)p[i] = 'x';
	for (size_t i = 0; i < 2 * COUNT_OF(p); i++)
		CHECK(malloc(48));
}

TEST(damage_is_fatal)
{
	void (*const bodies[])(void *) = {overwrite_header, overwrite_mark};

	for (size_t i = 0; i < COUNT_OF(bodies); i++) {
		int status = test_in_child(bodies[i], NULL, said, sizeof(said));

		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == 6 && count_lines() == 1,
			  "it %s, and said %.300s", test_ending(status), said);
	}
}
