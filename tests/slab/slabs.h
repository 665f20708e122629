/* SPDX-License-Identifier: BSD-3-Clause */

/* Shared by tests of the store of cells, which use a class of their own. */

#pragma once

#include <stdint.h>
#include <string.h>

#include "broken.h"
#include "harness.h"
#include "slab/slab_core.h"

static unsigned int class; /* of the test's cells; nobody else uses it */
static const struct class_info *info;
static struct slab_class *state;

static inline void use_class(size_t size)
{
	class = class_of_size(size);
	info = &slab_classes[class];
	state = &slab_class_states[class];
	slab_init();
	CHECK(state->slabs == 0 && state->out == 0);
}

static inline unsigned int take(void **cells, unsigned int n, bool *fresh)
{
	unsigned int taken;

	slab_enter(class);
	taken = slab_take_locked(class, 0, cells, n, fresh);
	slab_leave(class);
	expect_sound(slab_check);
	return taken;
}

/* Take n cells, in as many batches as needed. */
static inline void take_all(void **cells, unsigned int n)
{
	for (unsigned int taken = 0; taken < n;) {
		unsigned int got = take(cells + taken, n - taken, NULL);

		CHECK(got);
		taken += got;
	}
}

/* The first step of free. */
static inline void mark(void *const *cells, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		if (slab_find(cells[i]).state != CELL_LIVE)
			continue;
		if (slab_has_marks(class))
			*cell_word(cells[i]) = CELL_FREED;
		else if (class < CLASS_COUNT) /* hardened */
			memset(cells[i], 0, info->size);
	}
}

static inline void give(void *const *cells, unsigned int n)
{
	mark(cells, n);
	slab_enter(class);
	slab_give_locked(class, cells, n);
	slab_leave(class);
	expect_sound(slab_check);
}

static inline void *take_one(void)
{
	void *cell;

	CHECK(take(&cell, 1, NULL) == 1);
	return cell;
}

static inline struct slab *slab_with(const void *cell)
{
	struct segment *g = segment_of(cell);

	return &g->slabs[g->first[((uintptr_t)cell >> SLAB_SHIFT) % SEGMENT_SLOTS]];
}

static inline void give_one(void *cell)
{
	give(&cell, 1);
}

#define CELLS 20000

static void *cells[CELLS];

/* Fresh, as the store gives it: the mark of a free cell, and zeros. */
static inline bool is_fresh(const char *p, size_t size)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	p += sizeof(word);
	size -= sizeof(word);
	return word == CELL_FREED && !p[0] && memcmp(p, p + 1, size - 1) == 0;
}

/* Take all cells of some slabs, write to them, give back all but kept of each; cells[] has them. */
static inline void make_sparse(size_t size, unsigned int slabs, unsigned int kept)
{
	use_class(size);
	for (unsigned int i = 0; i < slabs * info->capacity; i++)
		CHECK(slab_take_locked(class, 0, &cells[i], 1, NULL) == 1);
	for (unsigned int i = 0; i < slabs * info->capacity; i++)
		memset(cells[i], 0xa5, size);
	for (unsigned int i = 0; i < slabs; i++)
		give(cells + i * info->capacity + kept, info->capacity - kept);
	CHECK(state->slabs == slabs);
}
