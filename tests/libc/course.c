// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * OSMEM_OPTIONS=course: the block list serves malloc and its relatives, by its rules. The program
 * starts itself again with the option.
 */

#include "libc_common.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block_meta.h"
#include "osmem.h"
#include "osmem_inspect.h"

#define META sizeof(struct block_meta)
#define ROUNDED(n) (((n) + 15) & ~(size_t)15)

__attribute__((constructor)) static void with_the_option(void)
{
	test_start_again("course");
}

static struct block_meta *block_of(void *p)
{
	__asm__("" : "+r"(p)); /* the compiler knows of no header */
	return (struct block_meta *)p - 1;
}

static void check_list(void)
{
	const char *fault = osmem_check();

	CHECK_MSG(!fault, "%s", fault);
}

/* The list has n live blocks more than before. */
static size_t live_blocks(void)
{
	struct osmem_stats s;

	osmem_get_stats(&s, sizeof(s));
	CHECK(s.libc.live_blocks == 0 && s.cells.live == 0);
	return s.course.live_blocks + s.course.mapped_blocks;
}

TEST(blocks_are_of_the_list_and_aligned)
{
	size_t before = live_blocks();

	for (size_t size = 0; size < 3000; size += 7) {
		void *p = malloc(size);

		CHECK(p && (uintptr_t)p % 16 == 0 && block_of(p)->status == STATUS_ALLOC);
		CHECK(block_of(p)->size % 16 == 0 && block_of(p)->size >= ROUNDED(size ? size : 1));
		CHECK(malloc_usable_size(p) == block_of(p)->size);
		CHECK(live_blocks() == before + 1);
		memset(p, 0xa5, malloc_usable_size(p));
		free(p);
	}
	CHECK(live_blocks() == before);
	check_list();
}

TEST(size_zero_is_a_unique_block)
{
	void *p = malloc(0), *q = calloc(0, 7);

	CHECK(p && q && p != q && malloc_usable_size(p) == 16);
	CHECK(realloc(p, 0) == NULL);
	free(q);
	check_list();
}

/* Rules 6 and 7: which are mapped. */
TEST(thresholds_are_those_of_the_list)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p;

	CHECK(block_of(p = malloc(128 * KIB - META - 16))->status == STATUS_ALLOC);
	free(p);
	CHECK(block_of(p = malloc(128 * KIB - META - 15))->status == STATUS_MAPPED);
	free(p);
	CHECK(block_of(p = calloc(1, page - META - 16))->status == STATUS_ALLOC);
	free(p);
	CHECK(block_of(p = calloc(1, page - META))->status == STATUS_MAPPED);
	free(p);
}

/* What is made of one seed, by malloc's names or by os_*: the same addresses. */

#define CALLS 3000
#define SLOTS 60

static void *by_malloc(int kind, void *p, size_t size)
{
	switch (kind) {
	case 0:
		return calloc(size, 1);
	case 1:
		return malloc(size);
	case 2:
		return realloc(p, size);
	default:
		free(p);
		return NULL;
	}
}

static void *by_os(int kind, void *p, size_t size)
{
	switch (kind) {
	case 0:
		return os_calloc(size, 1);
	case 1:
		return os_malloc(size);
	case 2:
		return os_realloc(p, size);
	default:
		os_free(p);
		return NULL;
	}
}

static void record(void **results, void *(*call)(int kind, void *p, size_t size))
{
	void *slots[SLOTS] = {NULL};
	uint64_t state = 42;

	for (size_t i = 0; i < CALLS; i++) {
		void **slot = &slots[random_below(&state, SLOTS)];
		size_t size = 1 + random_below(&state, (size_t)1 << (4 + random_below(&state, 15)));
		int kind = *slot ? 2 + (int)random_below(&state, 3) : (int)random_below(&state, 4);

		*slot = call(kind && !*slot ? 1 : kind, *slot, size);
		results[i] = *slot;
	}
}

static void expect_zero_exit(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK_MSG(status == 0, "wait status %#x", status);
}

TEST(placement_is_that_of_os_malloc)
{
	size_t bytes = CALLS * sizeof(void *);
	void **results =
		mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t in_heap = 0;

	CHECK(results != MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			record(results + i * CALLS, i ? by_os : by_malloc);
			_exit(osmem_check() != NULL);
		}
		expect_zero_exit(pid);
	}
	for (size_t i = 0; i < CALLS; i++) {
		CHECK_MSG(results[i] == results[CALLS + i], "call %zu: %p, not %p", i, results[i],
			  results[CALLS + i]);
		in_heap += (uintptr_t)results[i] - (uintptr_t)sbrk(0) + GIB < 2 * GIB;
	}
	CHECK(in_heap > CALLS / 4 && in_heap < CALLS);
}

/* What lies before and behind is free, and of the list. */
TEST(aligned_blocks_are_cut)
{
	size_t before = live_blocks();

	for (size_t align = 32; align <= 4 * MIB; align *= 2) {
		for (size_t size = 0; size < 300 * KIB; size = size * 5 + 1) {
			char *p = memalign(align, size);
			struct block_meta *b;

			CHECK(p && (uintptr_t)p % align == 0);
			b = block_of(p);
			CHECK(b->status == STATUS_ALLOC && b->size >= ROUNDED(size ? size : 1) &&
			      b->size < ROUNDED(size) + 64);
			CHECK(!b->next || b->next->status == STATUS_FREE ||
			      b->size == ROUNDED(size));
			memset(p, 0x5a, b->size);
			check_list();
			CHECK(live_blocks() == before + 1);
			free(p);
		}
	}
	check_list();
	CHECK(live_blocks() == before);
}

TEST(aligned_blocks_that_cannot_be)
{
	volatile size_t huge = (size_t)1 << 62;

	errno = 0;
	CHECK(memalign(64, PTRDIFF_MAX) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(memalign(huge, 100) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(memalign(huge, PTRDIFF_MAX) == NULL && errno == ENOMEM);
	check_list();
}

/* The two families share the list. */
TEST(blocks_may_go_to_the_other_family)
{
	char *p = malloc(100), *q = os_malloc(100);

	CHECK(p && q && block_of(q)->size == ROUNDED(100));
	strcpy(p, "text");
	p = os_realloc(p, 5000);
	CHECK(p && strcmp(p, "text") == 0);
	os_free(p);
	free(q);
	check_list();
}

TEST(trim_has_nothing_to_return)
{
	free(malloc(100 * KIB));
	CHECK(malloc_trim(0) == 0);
}

TEST(mallinfo_is_of_the_list)
{
	size_t used = mallinfo2().uordblks;
	void *p = malloc(1000);

	CHECK(mallinfo2().uordblks == used + META + ROUNDED(1000));
	free(p);
	CHECK(mallinfo2().uordblks == used);
}

/* Misuse is reported with malloc's names. */

static void free_twice(void *arg)
{
	free(arg);
	free(arg);
}

static void resize_freed(void *arg)
{
	free(arg);
	arg = realloc(arg, 50);
}

static void free_inside(void *arg)
{
	free((char *)arg + 16);
}

static void free_unaligned(void *arg)
{
	free((char *)arg + 8);
}

static void free_overwritten(void *arg)
{
	memset((char *)arg - META, 0x5a, 12);
	free(arg);
}

static void expect_report(void (*misuse)(void *arg), const char *call, ptrdiff_t offset,
			  const char *what)
{
	char *p = malloc(100), want[256];

	snprintf(want, sizeof(want), what, call, (void *)(p + offset), (void *)p);
	test_expect_abort(__FILE__, __LINE__, misuse, p, want);
}

TEST(misuse_is_reported_with_the_names_of_malloc)
{
	expect_report(free_twice, "free", 0, "osmem: %s(%p): this block is already free");
	expect_report(resize_freed, "realloc", 0, "osmem: %s(%p): this block is already free");
	expect_report(free_inside, "free", 16,
		      "osmem: %s(%p): not the start of a block, but inside one of 112 bytes at %p");
	expect_report(free_unaligned, "free", 8,
		      "osmem: %s(%p): not a block: not aligned to 16 bytes");
	expect_report(free_overwritten, "free", 0,
		      "osmem: %s(%p): the header of this block is overwritten");
}
