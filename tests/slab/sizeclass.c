// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* The arithmetic of size classes, and of cells in slabs, for every size and offset. */

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#include "cache/tcache_core.h"
#include "harness.h"
#include "slab/slab.h"

#define RECIPROCAL_SHIFT 40

TEST(class_is_the_smallest_that_fits)
{
	for (size_t size = 1; size <= CELL_MAX; size++) {
		unsigned int class = class_of_size(size);

		CHECK_MSG(class >= 1 && class < CLASS_COUNT, "size %zu: class %u", size, class);
		CHECK_MSG(class_size(class) >= size, "size %zu: cell of %zu", size,
			  class_size(class));
		CHECK_MSG(class == 1 || class_size(class - 1) < size, "size %zu: class %u", size,
			  class);
	}
	CHECK(class_of_size(CELL_MAX) == CLASS_COUNT - 1);
}

TEST(sizes_ascend_in_bounded_steps)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		size_t size = class_size(class), next = class_size(class + 1);

		CHECK(size % CELL_ALIGN == 0);
		CHECK(class_of_size(size) == class);
		if (class + 1 == CLASS_COUNT)
			break;
		CHECK(next > size);
		CHECK_MSG(size < 128 || (next - size) * 8 <= size, "%zu bytes, then %zu", size,
			  next);
	}
}

/* Waste of at most 12.5 % of the cell above 128 bytes. */
TEST(waste_is_bounded)
{
	for (size_t size = 129; size <= CELL_MAX; size++) {
		size_t cell = class_size(class_of_size(size));

		CHECK_MSG((cell - size) * 8 < cell, "size %zu: cell of %zu", size, cell);
	}
}

/* The fast path of malloc. */
TEST(small_size_rounded_up_is_the_offset_of_its_bin)
{
	for (size_t size = 1; size <= CELL_FINE_MAX; size++)
		CHECK(((size + CELL_ALIGN - 1) & ~(CELL_ALIGN - 1)) ==
		      class_of_size(size) * SLAB_BIN_SIZE);
}

TEST(classes_know_their_cells)
{
	slab_init();
	for (unsigned int class = 1; class < CLASS_END; class += 1) {
		const struct class_info *info = &slab_classes[class];
		size_t bytes = info->slots * SLAB_SIZE;

		CHECK(class >= CLASS_COUNT || info->size == class_size(class));
		CHECK(info->slots == (info->size > SLAB_CELL_MAX ? 4 : 1));
		CHECK(info->capacity * info->size <= bytes);
		CHECK((info->capacity + 1u) * info->size > bytes);
	}
	CHECK(slab_classes[CLASS_MAGAZINE].size == MAGAZINE_SIZE);
	CHECK(slab_classes[CLASS_CACHE].size == CACHE_SIZE);
}

/* The fast path of free: is an offset into a slab a multiple of the size? */
TEST(magic_is_exact)
{
	slab_init();
	for (unsigned int class = 1; class < CLASS_END; class += 1) {
		const struct class_info *info = &slab_classes[class];

		for (uint32_t n = 0; n < SLAB_SIZE; n++)
			CHECK_MSG((n * info->magic < info->magic) == (n % info->size == 0),
				  "offset %u, size %u", n, info->size);
	}
}

TEST(reciprocal_is_exact)
{
	slab_init();
	for (unsigned int class = 1; class < CLASS_END; class += 1) {
		const struct class_info *info = &slab_classes[class];

		for (uint64_t n = 0; n < info->slots * SLAB_SIZE; n++)
			CHECK_MSG(n * info->reciprocal >> RECIPROCAL_SHIFT == n / info->size,
				  "offset %lu, size %u", (unsigned long)n, info->size);
	}
}

TEST(malloc_keeps_to_the_classes)
{
	for (size_t size = 1; size <= CELL_MAX; size++) {
		void *p = malloc(size);

		CHECK(p && malloc_usable_size(p) == class_size(class_of_size(size)));
		free(p);
	}
}
