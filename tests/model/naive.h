/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The placement rules as plainly as they can be written: a list of blocks, walked at every call. No
 * memory is behind it. A heap block has an offset, from where the heap begins to its header;
 * a mapped block is only known to be one.
 *
 * The model assumes that memory is never refused, so nothing fails, and NULL is what the rules mean
 * by it. Pointers to blocks stay valid while the block is in the list, or mapped.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>

struct naive_block {
	size_t offset; /* of the header; unused in mapped blocks */
	size_t size; /* of the payload */
	int status; /* STATUS_FREE, STATUS_ALLOC or STATUS_MAPPED */
	bool was_given; /* the payload's address has been a result */
	bool starts_region; /* the block before it, if any, is not adjacent */
	struct naive_block *prev;
	struct naive_block *next;
};

/* Deliberate mistakes, to see that a comparison with the model notices such things. */
enum naive_bug {
	NAIVE_RIGHT,
	NAIVE_FIRST_FIT, /* rule 11: the first that is large enough */
	NAIVE_HIGHEST_FIT, /* rule 11: among equals the highest address */
	NAIVE_NO_COALESCING, /* rule 10: not done */
	NAIVE_EAGER_COALESCING, /* rule 10: done in every call, os_free included */
	NAIVE_SPLIT_AT_48, /* rule 12: a remainder of 40 bytes is given */
	NAIVE_LAST_NOT_GROWN, /* rule 13: a free last block is left, a new one made */
	NAIVE_CALLOC_LIKE_MALLOC, /* rule 6: MMAP_THRESHOLD for os_calloc too */
	NAIVE_FREE_BLOCKS_MOVE, /* rule 16: realloc of a free block places it anew */
	NAIVE_NO_SHRINKING, /* rule 17a: no split */
	NAIVE_LAST_MOVES, /* rule 17b: the last block is not grown */
	NAIVE_ABSORB_ALL, /* rule 17c: all free neighbours, needed or not */
	NAIVE_ABSORB_NOTHING_IN_VAIN, /* rule 17d: nothing is absorbed unless it suffices */
	NAIVE_GROW_ABSORBER, /* rule 17d: a block that became the last is grown, not moved */
	NAIVE_FREE_BEFORE_PLACING, /* rule 18: the old block is a candidate for the new place */
	NAIVE_ONE_REGION, /* errors: blocks are adjacent across what the program has put between */
	NAIVE_BUGS,
};

struct naive_heap {
	struct naive_block *first;
	struct naive_block *last;
	size_t end; /* what the break has been raised by, by whomever */
	bool is_break_moved; /* by somebody else since the heap last grew */
	size_t page_size;
	enum naive_bug bug;
	struct naive_block *unused; /* nodes to use again */
	size_t fresh; /* nodes that have never been used are from here on */
};

/* Make heap one that has not been used. One heap at a time: nodes come from one static pool. */
void naive_init(struct naive_heap *heap, size_t page_size, enum naive_bug bug);

struct naive_block *naive_malloc(struct naive_heap *heap, size_t size);
struct naive_block *naive_calloc(struct naive_heap *heap, size_t nmemb, size_t size);
struct naive_block *naive_realloc(struct naive_heap *heap, struct naive_block *b, size_t size);
void naive_free(struct naive_heap *heap, struct naive_block *b);

/* The program raises the break by size, a multiple of 8; the heap has been used. */
void naive_move_break(struct naive_heap *heap, size_t size);
