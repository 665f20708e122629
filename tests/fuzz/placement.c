// SPDX-License-Identifier: BSD-3-Clause

/*
 * The rules of os_*, for libFuzzer: an input is a sequence of calls, and each is compared with the
 * naive model as model/compare.c does it, address, header, contents and break. Three bytes make a
 * call: what and on which slot, and a size. Every input meets an untouched heap, so that it fails
 * alone as it failed here.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block_core.h"
#include "compare.h"
#include "fuzz.h"
#include "harness.h"

#define CALL_BYTES 3
#define SLOTS 32
#define SBRK_MAX (256 * KIB) /* of the program's own: only while the break is exact, and little */
#define SIZE_BITS 14
#define SIZE_MASK ((1u << SIZE_BITS) - 1)

static const uint8_t *next_byte;

/* model/compare.c and lib/blocks.c say so what they cannot do. */
void test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	abort();
}

/*
 * Two bits say how the others are meant: bytes, even numbers, around the threshold of mapping,
 * around a page and multiples of it. None is much larger: page faults would be all that a run has
 * time for.
 */
static size_t size_from(unsigned int bits)
{
	size_t low = bits & SIZE_MASK, pages = (low >> 6) % 64;

	switch (bits >> SIZE_BITS) {
	case 0:
		return low % 1200;
	case 1:
		return low * 2;
	case 2:
		return MMAP_THRESHOLD - 4096 + low / 2;
	default:
		return pages * 4096 + (low & 63) * 2 - (pages ? 64 : 0);
	}
}

static void next_for_empty(struct call *call, unsigned int kind)
{
	static const enum call_kind kinds[] = {CALL_MALLOC, CALL_CALLOC, CALL_MALLOC, CALL_REALLOC};

	call->kind = kinds[kind % 4];
	if (call->kind == CALL_CALLOC) {
		call->nmemb = call->size % 5;
		call->size /= call->nmemb ? call->nmemb : 1;
	}
}

static void next_for_occupied(struct run *run, struct call *call, unsigned int kind)
{
	call->kind = kind & 1 ? CALL_FREE : CALL_REALLOC;
	if (kind & 2) { /* near what it has: there are the edges of rule 17 */
		size_t has = run->slots[call->slot].b->size;

		call->size = (has > 48 ? has - 48 : 0) + call->size % 128;
	}
}

static void next(struct run *run, struct call *call)
{
	unsigned int kind = next_byte[0] / SLOTS;

	call->slot = next_byte[0] % SLOTS;
	call->size = size_from(next_byte[1] | (unsigned int)next_byte[2] << 8);
	next_byte += CALL_BYTES;
	if (kind == 7 && call->slot < 4 && run->model.end < SBRK_MAX) {
		call->kind = CALL_SBRK;
		call->size = (call->size + 8) % SBRK_MAX & ~(size_t)7;
	} else if (kind == 7) {
		call->kind = CALL_REALLOC_FREED;
	} else if (is_occupied(run, call->slot)) {
		next_for_occupied(run, call, kind);
	} else {
		next_for_empty(call, kind);
	}
}

static const struct profile profile = {.name = "fuzz", .slots = SLOTS, .next = next};

/* The heap as it was before its first use; nothing else knows of it. */
static void forget_heap(const struct block_heap *untouched, const char *start)
{
	course = *untouched;
	block_regions[0] = (struct region){0};
	if (sbrk(start - (char *)sbrk(0)) == (void *)-1)
		test_fail(__FILE__, __LINE__, "the break cannot be lowered");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct block_heap untouched;
	static bool is_kept;
	struct plan plan = {.profile = &profile, .calls = size / CALL_BYTES, .check_interval = 16};
	const char *start = sbrk(0), *fault;

	if (!is_kept) {
		untouched = course;
		is_kept = true;
	}
	next_byte = data;
	compare_here(&plan);
	fault = block_check();
	if (fault)
		test_fail(__FILE__, __LINE__, "%s", fault);
	if (course.stats.allocs != course.stats.frees)
		test_fail(__FILE__, __LINE__, "all is freed, and blocks are live");
	forget_heap(&untouched, start);
	return 0;
}
