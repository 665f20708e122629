// SPDX-License-Identifier: BSD-3-Clause

#include "zero_size.h"

#include "helpers.h"
#include "slab/slab.h"

#define ZERO_SIZE_COUNT (ZERO_SIZE_BYTES / CELL_ALIGN)

char *zero_size_area;

static _Atomic(uint64_t) *used; /* a bit for each address */
static _Atomic(size_t) hint; /* the word to search first */

void zero_size_start(void)
{
	zero_size_area = sys_reserve(NULL, ZERO_SIZE_BYTES);
	used = zero_size_area ? sys_map(ZERO_SIZE_COUNT / 8) : NULL;
	if (!used)
		zero_size_area = NULL;
}

void *zero_size_alloc(void)
{
	size_t words = ZERO_SIZE_COUNT / 64, first = hint;

	for (size_t i = 0; zero_size_area && i < words; i++) {
		size_t word = (first + i) % words;
		uint64_t bits = used[word];

		while (~bits) {
			uint64_t bit = ~bits & (bits + 1);

			if (atomic_compare_exchange_weak(&used[word], &bits, bits | bit)) {
				hint = word;
				return zero_size_area +
				       (word * 64 + (size_t)__builtin_ctzll(bit)) * CELL_ALIGN;
			}
		}
	}
	return NULL;
}

bool zero_size_check(const char *call, const void *p)
{
	size_t offset = (uintptr_t)p - (uintptr_t)zero_size_area, i = offset / CELL_ALIGN;

	if (offset % CELL_ALIGN) {
		sys_misuse(call, p, "not a block: not aligned to %lu bytes", CELL_ALIGN);
		return false;
	}
	if (used[i / 64] >> i % 64 & 1)
		return true;
	sys_misuse(call, p, "this block is already free");
	return false;
}

void zero_size_free(const char *call, const void *p)
{
	size_t i = ((uintptr_t)p - (uintptr_t)zero_size_area) / CELL_ALIGN;
	uint64_t bit = (uint64_t)1 << i % 64;

	if (zero_size_check(call, p) && !(atomic_fetch_and(&used[i / 64], ~bit) & bit))
		sys_misuse(call, p, "this block is already free");
}
