// SPDX-License-Identifier: BSD-3-Clause

/*
 * heap_check() and index_check() against heaps that are broken on purpose: each invariant by its
 * number. Every test puts back what it broke, and the check is content again.
 */

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broken.h"
#include "harness.h"
#include "heap_core.h"
#include "sizeclass.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void break_size(size_t *at, size_t value, const char *number)
{
	break_bytes(heap_check, at, &value, sizeof(value), number);
}

static void break_status(int *at, int value, const char *number)
{
	break_bytes(heap_check, at, &value, sizeof(value), number);
}

static void break_pointer(void *at, const void *value, const char *number)
{
	break_bytes(heap_check, at, &value, sizeof(value), number);
}

/* The bytes behind status: seal of a live block, links of a free one. */
static int *pad(struct block_meta *b)
{
	return &b->status + 1;
}

/* The heap with live, free and pending blocks, two regions and mapped blocks. */

#define ROW 8
#define LIBC_SIZE (CELL_MAX + 64) /* a block, not a cell */
#define MAPPED 3

static struct block_meta *libc_row[ROW], *libc_mapped[MAPPED]; /* odd ones are free */

static struct block_meta *header(void *p)
{
	CHECK(p);
	return (struct block_meta *)p - 1;
}

static void set_up(void)
{
	for (size_t i = 0; i < ROW; i++)
		libc_row[i] = header(malloc(LIBC_SIZE));
	for (size_t i = 0; i < MAPPED; i++)
		libc_mapped[i] = header(malloc(MIB));
	for (size_t i = 1; i < ROW; i += 2)
		free(libc_row[i] + 1);
	expect_sound(heap_check);
}

/* Settle the heap: no block is pending any more. */
static void settle(void)
{
	heap_settle(&heaps[HEAP_LIBC]);
	expect_sound(heap_check);
}

TEST(empty_heaps_are_sound)
{
	expect_sound(heap_check);
}

TEST(h1_sizes)
{
	set_up();
	for (size_t i = 0; i < ROW; i++) {
		break_size(&libc_row[i]->size, 72, "H1");
		break_size(&libc_row[i]->size, SIZE_MAX - 15, "H1");
	}
}

TEST(h2_links)
{
	set_up();
	for (size_t i = 1; i < ROW - 1; i++) {
		break_pointer(&libc_row[i]->prev, NULL, "H2");
		break_pointer(&libc_row[i]->next, NULL, "H2");
	}
}

TEST(h3_status_and_seal)
{
	set_up();
	for (size_t i = 0; i < ROW; i++) {
		break_status(&libc_row[i]->status, STATUS_MAPPED, "H3");
	}
	for (size_t i = 0; i < ROW; i += 2) {
		break_status(pad(libc_row[i]), 0, "H3");
	}
}

TEST(h3_mapped)
{
	set_up();
	for (size_t i = 0; i < MAPPED; i++) {
		break_size(&libc_mapped[i]->size, 2 * MIB, "H3");
		break_status(pad(libc_mapped[i]), 1, "H3");
	}
}

TEST(h6_top_and_last)
{
	set_up();
	break_pointer(&heaps[HEAP_LIBC].top, libc_row[0], "H6");
	break_pointer(&heaps[HEAP_LIBC].last, libc_row[0], "H6");
}

TEST(h7_figures)
{
	struct heap_stats *s = &heaps[HEAP_LIBC].stats;

	set_up();
	break_size(&s->blocks, s->blocks + 1, "H7");
	break_size(&s->live_blocks, s->live_blocks - 1, "H7");
	break_size(&s->live_bytes, s->live_bytes + 8, "H7");
	break_size(&s->region_bytes, s->region_bytes + 8, "H7");
	break_size(&s->reserve_bytes, s->reserve_bytes + 8, "H7");
	break_size(&s->regions, s->regions + 1, "H7");
	break_size(&s->mapped_blocks, s->mapped_blocks + 1, "H7");
}

TEST(i2_bitmap)
{
	struct index *ix = &heaps[HEAP_LIBC].index;

	set_up();
	settle();
	for (size_t i = 0; i < INDEX_WORDS; i++) {
		uint64_t none = 0, all = ~UINT64_C(0);

		if (ix->occupied[i])
			break_bytes(heap_check, &ix->occupied[i], &none, sizeof(none), "I2");
		else
			break_bytes(heap_check, &ix->occupied[i], &all, sizeof(all), "I2");
	}
}
