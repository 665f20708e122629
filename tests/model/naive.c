// SPDX-License-Identifier: BSD-3-Clause

#include "naive.h"

#include "block_meta.h"

#define META ((size_t)32)
#define MMAP_THRESHOLD ((size_t)131072)
#define FIRST_USE ((size_t)131072)
#define MAX_BLOCKS 65536

static struct naive_block pool[MAX_BLOCKS];

void naive_init(struct naive_heap *heap, size_t page_size, enum naive_bug bug)
{
	*heap = (struct naive_heap){.page_size = page_size, .bug = bug};
}

static struct naive_block *take_node(struct naive_heap *heap)
{
	struct naive_block *b = heap->unused;

	if (b)
		heap->unused = b->next;
	else if (heap->fresh < MAX_BLOCKS)
		b = &pool[heap->fresh++];
	else
		abort(); /* the caller has asked for more blocks than a test needs */
	*b = (struct naive_block){0};
	return b;
}

static void drop_node(struct naive_heap *heap, struct naive_block *b)
{
	b->next = heap->unused;
	heap->unused = b;
}

static size_t round8(size_t size)
{
	return (size + 7) / 8 * 8;
}

/* Put b into the list behind after, or as the first block of all. */
static void link_behind(struct naive_heap *heap, struct naive_block *after, struct naive_block *b)
{
	b->prev = after;
	b->next = after ? after->next : NULL;
	if (b->prev)
		b->prev->next = b;
	else
		heap->first = b;
	if (b->next)
		b->next->prev = b;
	else
		heap->last = b;
}

/* b takes in the block behind it, header and all. */
static void absorb_next(struct naive_heap *heap, struct naive_block *b)
{
	struct naive_block *gone = b->next;

	b->size += META + gone->size;
	b->next = gone->next;
	if (b->next)
		b->next->prev = b;
	else
		heap->last = b;
	drop_node(heap, gone);
}

static bool next_is_free(const struct naive_block *b)
{
	return b->next && !b->next->starts_region && b->next->status == STATUS_FREE;
}

/* Rule 10. */
static void coalesce(struct naive_heap *heap)
{
	if (heap->bug == NAIVE_NO_COALESCING)
		return;
	for (struct naive_block *b = heap->first; b; b = b->next)
		while (b->status == STATUS_FREE && next_is_free(b))
			absorb_next(heap, b);
}

static bool is_better(const struct naive_heap *heap, size_t size, size_t best)
{
	if (heap->bug == NAIVE_FIRST_FIT)
		return false;
	return heap->bug == NAIVE_HIGHEST_FIT ? size <= best : size < best;
}

/* Rule 11. */
static struct naive_block *find(const struct naive_heap *heap, size_t size)
{
	struct naive_block *best = NULL;

	for (struct naive_block *b = heap->first; b; b = b->next)
		if (b->status == STATUS_FREE && b->size >= size)
			if (!best || is_better(heap, b->size, best->size))
				best = b;
	return best;
}

/* Rule 12. */
static void split(struct naive_heap *heap, struct naive_block *b, size_t size)
{
	size_t smallest = META + (heap->bug == NAIVE_SPLIT_AT_48 ? 16 : 8);
	struct naive_block *rest;

	if (b->size - size < smallest)
		return;
	rest = take_node(heap);
	rest->offset = b->offset + META + size;
	rest->size = b->size - size - META;
	rest->status = STATUS_FREE;
	link_behind(heap, b, rest);
	b->size = size;
}

/* A new last block of size payload bytes. */
static struct naive_block *append(struct naive_heap *heap, size_t size)
{
	struct naive_block *b = take_node(heap);

	b->offset = heap->end;
	b->size = size;
	b->status = STATUS_FREE;
	b->starts_region = heap->is_break_moved && heap->bug != NAIVE_ONE_REGION;
	heap->is_break_moved = false;
	heap->end += META + size;
	link_behind(heap, heap->last, b);
	return b;
}

static void grow_last(struct naive_heap *heap, size_t size)
{
	heap->end += size - heap->last->size;
	heap->last->size = size;
}

/* Rule 13; a break that was moved is where a new region begins. */
static struct naive_block *grow(struct naive_heap *heap, size_t size)
{
	if (heap->last->status != STATUS_FREE || heap->bug == NAIVE_LAST_NOT_GROWN)
		return append(heap, size);
	if (heap->is_break_moved)
		return append(heap, size);
	grow_last(heap, size);
	return heap->last;
}

/* Rules 9 to 13. */
static struct naive_block *place_in_heap(struct naive_heap *heap, size_t size)
{
	struct naive_block *b;

	if (!heap->first)
		append(heap, FIRST_USE - META);
	coalesce(heap);
	b = find(heap, size);
	if (b)
		split(heap, b, size);
	else
		b = grow(heap, size);
	b->status = STATUS_ALLOC;
	return b;
}

/* Rules 6 and 7. */
static struct naive_block *place(struct naive_heap *heap, size_t size, size_t threshold)
{
	struct naive_block *b;

	if (size == 0)
		return NULL;
	size = round8(size);
	if (META + size < threshold) {
		b = place_in_heap(heap, size);
	} else {
		b = take_node(heap);
		b->size = size;
		b->status = STATUS_MAPPED;
	}
	b->was_given = true;
	return b;
}

struct naive_block *naive_malloc(struct naive_heap *heap, size_t size)
{
	return place(heap, size, MMAP_THRESHOLD);
}

struct naive_block *naive_calloc(struct naive_heap *heap, size_t nmemb, size_t size)
{
	if (heap->bug == NAIVE_CALLOC_LIKE_MALLOC)
		return place(heap, nmemb * size, MMAP_THRESHOLD);
	return place(heap, nmemb * size, heap->page_size);
}

/* Rule 14, and 7 for mapped blocks. */
void naive_free(struct naive_heap *heap, struct naive_block *b)
{
	if (!b)
		return;
	if (b->status == STATUS_MAPPED) {
		drop_node(heap, b);
		return;
	}
	b->status = STATUS_FREE;
	if (heap->bug == NAIVE_EAGER_COALESCING)
		coalesce(heap);
}

static bool absorbing_suffices(const struct naive_block *b, size_t size)
{
	size_t sum = b->size;

	for (; next_is_free(b); b = b->next)
		sum += META + b->next->size;
	return sum >= size;
}

/* Rule 17c. */
static void absorb(struct naive_heap *heap, struct naive_block *b, size_t size)
{
	if (heap->bug == NAIVE_ABSORB_NOTHING_IN_VAIN && !absorbing_suffices(b, size))
		return;
	while (next_is_free(b) && (b->size < size || heap->bug == NAIVE_ABSORB_ALL))
		absorb_next(heap, b);
}

/* Rule 17, for an allocated block; false for 17d. */
static bool resize(struct naive_heap *heap, struct naive_block *b, size_t size)
{
	if (size <= b->size) { /* a */
		if (heap->bug != NAIVE_NO_SHRINKING)
			split(heap, b, size);
		return true;
	}
	if (b == heap->last && !heap->is_break_moved && heap->bug != NAIVE_LAST_MOVES) { /* b */
		grow_last(heap, size);
		return true;
	}
	absorb(heap, b, size); /* c */
	if (heap->bug == NAIVE_GROW_ABSORBER && b == heap->last && b->size < size)
		grow_last(heap, size);
	if (size > b->size)
		return false;
	split(heap, b, size);
	return true;
}

/* Rule 18. */
static struct naive_block *move(struct naive_heap *heap, struct naive_block *b, size_t size)
{
	struct naive_block *to;

	if (heap->bug == NAIVE_FREE_BEFORE_PLACING) {
		naive_free(heap, b);
		return naive_malloc(heap, size);
	}
	to = naive_malloc(heap, size);
	naive_free(heap, b);
	return to;
}

void naive_move_break(struct naive_heap *heap, size_t size)
{
	heap->end += size;
	heap->is_break_moved = true;
}

/* Rules 15 to 18. */
struct naive_block *naive_realloc(struct naive_heap *heap, struct naive_block *b, size_t size)
{
	if (!b)
		return naive_malloc(heap, size);
	if (size == 0) {
		naive_free(heap, b);
		return NULL;
	}
	if (b->status == STATUS_FREE)
		return heap->bug == NAIVE_FREE_BLOCKS_MOVE ? naive_malloc(heap, size) : NULL;
	if (b->status == STATUS_ALLOC && META + round8(size) < MMAP_THRESHOLD)
		if (resize(heap, b, round8(size)))
			return b;
	return move(heap, b, size);
}
