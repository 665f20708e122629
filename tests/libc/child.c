// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * A forked child shares its pages with its parent until one of them writes. What the child frees
 * stays unwritten. What it allocates afterwards is sound, and wrong frees are reported as ever.
 */

#include "libc_common.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>

#define BLOCK 200
#define BLOCKS (256 * KIB) /* 50 MiB */
#define THREADS 4

static unsigned char **blocks;

static void make(size_t i)
{
	blocks[i] = malloc(BLOCK);
	CHECK(blocks[i]);
	fill(blocks[i], BLOCK, (unsigned int)i);
}

static void make_blocks(void)
{
	blocks = malloc(BLOCKS * sizeof(*blocks));
	CHECK(blocks);
	for (size_t i = 0; i < BLOCKS; i++)
		make(i);
}

static bool is_sound(size_t i)
{
	return is_filled(blocks[i], BLOCK, (unsigned int)i);
}

/* Bytes of pages that this process shares with no other. */
static size_t private_bytes(void)
{
	char line[128];
	size_t kib = 0, total = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "r");

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Private_Dirty: %zu", &kib) == 1)
			total += kib;
	fclose(f);
	return total * KIB;
}

static void in_child(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		body();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

/* A twentieth, in an order that has nothing to do with addresses. */
static void free_some(void)
{
	size_t before = private_bytes(), after;

	for (size_t n = 0, i = 0; n < BLOCKS / 20; n++) {
		i = (i + 100003) % BLOCKS;
		free(blocks[i]);
	}
	after = private_bytes();
	CHECK_MSG(after < before + 6 * MIB, "%zu KiB became private", (after - before) / KIB);
}

TEST(pages_of_what_a_child_frees_stay_shared)
{
	make_blocks();
	in_child(free_some);
}

/* Every fourth block by thread, and another in its place. */
static void *replace(void *arg)
{
	for (int turn = 0; turn < 3; turn++) {
		for (size_t i = (size_t)arg; i < BLOCKS; i += THREADS) {
			CHECK(is_sound(i));
			free(blocks[i]);
			make(i);
		}
	}
	return NULL;
}

static void replace_all(void)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, replace, (void *)i) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (size_t i = 0; i < BLOCKS; i++)
		CHECK(is_sound(i));
}

static void replace_all_in_a_grandchild(void)
{
	for (size_t i = 0; i < BLOCKS; i += 3)
		free(blocks[i]);
	for (size_t i = 0; i < BLOCKS; i += 3)
		make(i);
	in_child(replace_all);
	replace_all();
}

TEST(children_replace_what_they_inherit)
{
	make_blocks();
	in_child(replace_all);
	in_child(replace_all_in_a_grandchild);
	replace_all();
}

static void free_all_and_begin_again(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	malloc_trim(0);
	for (size_t i = 0; i < BLOCKS; i++)
		make(i);
	replace_all();
}

TEST(children_free_all_they_inherit)
{
	make_blocks();
	in_child(free_all_and_begin_again);
}

/* Each runs in a child. */

static void free_twice(void *p)
{
	free(p);
	free(p);
}

static void free_it(void *p)
{
	free(p);
}

TEST(wrong_frees_of_inherited_blocks_are_reported)
{
	char line[200];
	unsigned char *p;

	make_blocks();
	p = blocks[BLOCKS / 2];
	snprintf(line, sizeof(line), "osmem: free(%p): this block is already free", (void *)p);
	EXPECT_ABORT(free_twice, p, line);
	snprintf(line, sizeof(line),
		 "osmem: free(%p): not the start of a block, but inside one of 208 bytes at %p",
		 (void *)(p + 16), (void *)p);
	EXPECT_ABORT(free_it, p + 16, line);
}

static void allocate_all_but(void *p)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		unsigned char *q = malloc(BLOCK);

		if (!q || q == p)
			exit(1);
	}
}

/*
 * The parent frees p twice, with others of them in between, so that the first is in a cache, or in
 * the store. Then it has p again, and writes zeros: no child takes these for a free block.
 */
static void free_twice_before_fork(unsigned char *p, size_t others)
{
	char line[200];

	snprintf(line, sizeof(line),
		 "osmem: malloc(%p): this free block was written to, or freed twice", (void *)p);
	for (size_t i = 0; i <= others; i++)
		free(i == others / 2 ? p : blocks[i * 7]);
	free(p);
	CHECK(malloc(BLOCK) == p);
	memset(p, 0, BLOCK);
	EXPECT_ABORT(allocate_all_but, p, line);
}

TEST(children_report_what_was_freed_twice_before_the_fork)
{
	make_blocks();
	free_twice_before_fork(blocks[BLOCKS / 2 + 1], 1);
}

TEST(children_report_what_the_store_has_from_a_second_free)
{
	make_blocks();
	free_twice_before_fork(blocks[1], BLOCKS / 8);
}
