/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The index of the libc heap's free blocks: exact best fit, and the lowest address among equals,
 * without a walk and without memory of its own. It is a cache of the block list, never the truth.
 *
 * A free block is in one of two states.
 *
 * Pending: freed or split off since the last search; in a doubly linked list, not searched. The
 * heap takes it from there, coalesces it and inserts it.
 *
 * Indexed: in the bin of its size. Bins are in the order of size, and a bitmap has a bit for every
 * bin that is not empty.
 *	- 8 and 16 bytes, the narrow sizes: for each a bin per zone of 2^33 bytes of address space,
 *	  because 31-bit links are all that fits. Zones are in address order, so the first one that
 *	  is not empty is right.
 *	- 24 to 1024 bytes, the exact sizes: a bin for each.
 *	- Above: 8 bins per doubling of size.
 * In the first two kinds all blocks of a bin are equal, and the lowest address is all that is ever
 * asked for, so a bin is a pairing heap keyed by address: insertion, and removal of a leaf, by far
 * the commonest cases, touch a constant number of blocks. The bins above are treaps ordered by
 * size, then address. Where blocks may be anywhere, not in one span of addresses, all bins are
 * treaps.
 *
 * Cost: insertion O(1) up to 1024 bytes; everything else O(log n), amortised.
 *
 * The links, drawn from the last 4 bytes of the header (block_meta.h calls them pad):
 *
 *	           pad (32)              payload word 0 (64)       word 1       word 2
 *	pending    1 | 0 | prev high 26  next 45 | prev low 19     -            -
 *	narrow     0 | back 31           sibling 32 | child 32     -            -
 *	exact      0                     child                     sibling      back
 *	above      0                     left                      right        -
 *	few        place                 -                         -            -
 *
 * 45-bit links are addresses divided by 8; 31-bit ones count units of 8 bytes from the zone's
 * start, plus 1. Zero is no link. Free memory is written to by mistake: so a link of a pairing heap
 * is only followed into the span of the index's blocks, and to one that leads back; those of treaps
 * are sealed (treap.h); and for pending ones the heap looks, which knows its regions.
 *
 * While the indexed blocks are few, bins cost most by their branches, which no processor foresees.
 * An index that is few has its blocks not in bins but in an array of keys: the size in the upper
 * half, the address from base on in the lower. The best fit is the least key from the wanted size
 * on, and all are looked at, with no branch on what they are. The pad of a block has its place in
 * the array. The 65th block, or one beyond a key's span, makes the index many; its owner may make
 * it few again.
 *
 * Invariants:
 *	I1 a free block is either pending or in the bin of its size, or among the keys, never in two
 *	   of them, and once
 *	I2 a bit of the bitmap is set if and only if its bin is not empty
 *	I3 in a pairing heap a child's address is higher than its parent's; back leads to the
 *	   previous sibling, or for a first child to the parent, and is zero at the root
 *	I4 treaps keep T1 and T2
 *	I5 keys are those of their blocks, whose pads lead back, and 0 from count on; an index that
 *	   is few has nothing in bins, any other one has no keys
 * All of it is guarded by the lock of the heap that owns the index.
 *
 * The functions are here, not in index.c, because inlined into the heap's paths they cost half.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block_meta.h"
#include "libc_treap.h"

/* What the index of the course heap has too. */
#define index_remove_few libc_index_remove_few
#define index_take_few libc_index_take_few
#define index_insert_other libc_index_insert_other
#define index_remove_other libc_index_remove_other
#define index_take_other libc_index_take_other
#define index_take_large libc_index_take_large
#define index_meld_exact libc_index_meld_exact
#define index_visit_large libc_index_visit_large
#define index_check libc_index_check
#define index_damaged libc_index_damaged

#define INDEX_ZONE_SHIFT 33
#define INDEX_ZONES 128 /* of 8 GiB: a heap with narrow blocks spans at most 1 TiB */
#define INDEX_NARROW_MAX ((size_t)16)
#define INDEX_EXACT_MAX ((size_t)1024)
#define INDEX_SUBBINS_SHIFT 3
#define INDEX_DOUBLINGS 39 /* 2^10 to 2^49 */
#define INDEX_FIRST_EXACT (2 * INDEX_ZONES)
#define INDEX_FIRST_TREAP (INDEX_FIRST_EXACT + INDEX_EXACT_MAX / 8 - 2)
#define INDEX_BINS (INDEX_FIRST_TREAP + (INDEX_DOUBLINGS << INDEX_SUBBINS_SHIFT))
#define INDEX_WORDS ((INDEX_BINS + 63) / 64)

#define INDEX_PAD_OFFSET (offsetof(struct block_meta, status) + sizeof(int))
#define INDEX_FEW_MAX 64
#define INDEX_FEW_AGAIN 16 /* far enough below, so that an index does not go to and fro */
#define INDEX_STRIDE 8 /* so many keys are looked at in a go */
#define INDEX_KEY_SHIFT 32
#define INDEX_KEY_SPAN (UINT64_C(1) << INDEX_KEY_SHIFT) /* of addresses, and of sizes */
#define INDEX_PENDING 0x80000000u
#define INDEX_LOW_BITS 19
#define INDEX_LOW_MASK ((UINT64_C(1) << INDEX_LOW_BITS) - 1)
#define INDEX_ZONE_MASK ((UINT64_C(1) << INDEX_ZONE_SHIFT) - 1)

_Static_assert(offsetof(struct block_meta, size) == 0, "size is the header's first word");
_Static_assert(INDEX_PAD_OFFSET + 4 == offsetof(struct block_meta, prev), "32 bits of padding");
_Static_assert(sizeof(struct block_meta) == 32, "links are drawn for a 32-byte header");
_Static_assert(((UINT64_C(1) << INDEX_ZONE_SHIFT) >> 3) < (UINT64_C(1) << 31), "31-bit links");

enum index_kind {
	INDEX_MANY, /* bins */
	INDEX_FEW, /* keys */
	INDEX_TREES, /* bins that are all treaps: no pairing heap, no key */
};

struct index {
	struct block_meta *pending; /* NULL or the newest */
	/* Where blocks are, but in an index of trees: so many bytes from the start of zone 0 on. */
	uintptr_t base;
	size_t span;
	uint64_t secret; /* of treaps; set before the first block comes, as all above */
	enum index_kind kind;
	uint32_t count; /* of keys */
	uint64_t key[INDEX_FEW_MAX + INDEX_STRIDE]; /* I5; there is always a 0 behind the last */
	uint64_t occupied[INDEX_WORDS]; /* I2 */
	union {
		struct block_meta *block; /* pairing heaps: the root, lowest address of the bin */
		struct treap_node *node; /* treaps */
	} bin[INDEX_BINS];
};

#define INDEX_HOT static inline __attribute__((always_inline))

/* The bits behind the links. */

static inline uint32_t *index_pad(struct block_meta *b)
{
	return (uint32_t *)(void *)((char *)b + INDEX_PAD_OFFSET);
}

static inline uint64_t *index_word(struct block_meta *b)
{
	return (uint64_t *)(void *)(b + 1);
}

/* What a block of an exact bin has in its payload. */
struct index_links {
	struct block_meta *child; /* the first one */
	struct block_meta *sibling; /* the next one */
	struct block_meta *back; /* I3 */
};

static inline struct index_links *index_links(struct block_meta *b)
{
	return (struct index_links *)(void *)(b + 1);
}

static inline uintptr_t index_zone_start(const struct index *ix, const struct block_meta *b)
{
	return ix->base + (((uintptr_t)b - ix->base) & ~(uintptr_t)INDEX_ZONE_MASK);
}

/* What a 31-bit link in b leads to. */
static inline struct block_meta *index_unpack(const struct index *ix, const struct block_meta *b,
					      uint32_t link)
{
	if (!link)
		return NULL;
	return (struct block_meta *)(index_zone_start(ix, b) + ((uintptr_t)(link - 1) << 3));
}

static inline uint32_t index_pack(const struct index *ix, const struct block_meta *b)
{
	return b ? (uint32_t)((((uintptr_t)b - ix->base) & INDEX_ZONE_MASK) >> 3) + 1 : 0;
}

/* Pairing heaps. is_narrow is a constant in every caller, so each function has two copies. */

static inline struct block_meta *index_child(const struct index *ix, struct block_meta *b,
					     bool is_narrow)
{
	return is_narrow ? index_unpack(ix, b, (uint32_t)*index_word(b)) : index_links(b)->child;
}

static inline struct block_meta *index_sibling(const struct index *ix, struct block_meta *b,
					       bool is_narrow)
{
	return is_narrow ? index_unpack(ix, b, (uint32_t)(*index_word(b) >> 32))
			 : index_links(b)->sibling;
}

static inline struct block_meta *index_back(const struct index *ix, struct block_meta *b,
					    bool is_narrow)
{
	return is_narrow ? index_unpack(ix, b, *index_pad(b)) : index_links(b)->back;
}

static inline void index_set_child(const struct index *ix, struct block_meta *b,
				   struct block_meta *child, bool is_narrow)
{
	if (is_narrow)
		*index_word(b) = (*index_word(b) >> 32 << 32) | index_pack(ix, child);
	else
		index_links(b)->child = child;
}

static inline void index_set_sibling(const struct index *ix, struct block_meta *b,
				     struct block_meta *sibling, bool is_narrow)
{
	if (is_narrow)
		*index_word(b) = (uint32_t)*index_word(b) | (uint64_t)index_pack(ix, sibling) << 32;
	else
		index_links(b)->sibling = sibling;
}

static inline void index_set_back(const struct index *ix, struct block_meta *b,
				  struct block_meta *back, bool is_narrow)
{
	if (is_narrow)
		*index_pad(b) = index_pack(ix, back);
	else
		index_links(b)->back = back;
}

/* Whether b, which a link leads to, is where it and its links can be read. */
static inline bool index_is_here(const struct index *ix, const struct block_meta *b, bool is_narrow)
{
	size_t links = is_narrow ? sizeof(uint64_t) : sizeof(struct index_links);

	return (uintptr_t)b - ix->base <= ix->span - sizeof(*b) - links;
}

/* A link of b, free, is overwritten: report it and abort. The user of pairing heaps defines it. */
void index_damaged(const struct block_meta *b) __attribute__((noreturn, cold));

/* What a link of b leads to, which has to lead back to b. */
INDEX_HOT struct block_meta *index_verified(const struct index *ix, struct block_meta *b,
					    struct block_meta *other, bool is_narrow)
{
	if (other && __builtin_expect(!index_is_here(ix, other, is_narrow) ||
					      index_back(ix, other, is_narrow) != b,
				      0))
		index_damaged(b);
	return other;
}

static inline struct block_meta *index_follow_child(const struct index *ix, struct block_meta *b,
						    bool is_narrow)
{
	return index_verified(ix, b, index_child(ix, b, is_narrow), is_narrow);
}

static inline struct block_meta *index_follow_sibling(const struct index *ix, struct block_meta *b,
						      bool is_narrow)
{
	return index_verified(ix, b, index_sibling(ix, b, is_narrow), is_narrow);
}

/* Make the higher of two roots the first child of the lower, which is returned. */
INDEX_HOT struct block_meta *index_meld(const struct index *ix, struct block_meta *a,
					struct block_meta *b, bool is_narrow)
{
	struct block_meta *parent = a < b ? a : b, *child = a < b ? b : a;
	struct block_meta *first = index_follow_child(ix, parent, is_narrow);

	index_set_sibling(ix, child, first, is_narrow);
	index_set_back(ix, child, parent, is_narrow);
	if (first)
		index_set_back(ix, first, child, is_narrow);
	index_set_child(ix, parent, child, is_narrow);
	return parent;
}

/* Meld a list of siblings into one heap: in pairs from the left, then all from the right. */
INDEX_HOT struct block_meta *index_meld_siblings(const struct index *ix, struct block_meta *first,
						 bool is_narrow)
{
	struct block_meta *pairs = NULL, *root = NULL, *next;

	while (first) {
		struct block_meta *second = index_follow_sibling(ix, first, is_narrow);

		next = NULL;
		if (second) {
			next = index_follow_sibling(ix, second, is_narrow);
			first = index_meld(ix, first, second, is_narrow);
		}
		index_set_sibling(ix, first, pairs, is_narrow);
		pairs = first;
		first = next;
	}
	for (; pairs; pairs = next) {
		next = index_sibling(ix, pairs, is_narrow);
		root = root ? index_meld(ix, root, pairs, is_narrow) : pairs;
	}
	if (root) {
		index_set_sibling(ix, root, NULL, is_narrow);
		index_set_back(ix, root, NULL, is_narrow);
	}
	return root;
}

INDEX_HOT void index_heap_insert(const struct index *ix, struct block_meta **root,
				 struct block_meta *b, bool is_narrow)
{
	if (is_narrow)
		*index_word(b) = 0;
	else
		*index_links(b) = (struct index_links){0};
	*root = *root ? index_meld(ix, *root, b, is_narrow) : b;
}

INDEX_HOT bool index_heap_remove(const struct index *ix, struct block_meta **root,
				 struct block_meta *b, bool is_narrow)
{
	struct block_meta *back, *sibling, *rest = index_follow_child(ix, b, is_narrow);

	if (rest)
		rest = index_meld_siblings(ix, rest, is_narrow);
	if (b == *root) {
		*root = rest;
		return true;
	}
	back = index_back(ix, b, is_narrow);
	sibling = index_follow_sibling(ix, b, is_narrow);
	if (!*root || !back || !index_is_here(ix, back, is_narrow))
		return false;
	if (index_child(ix, back, is_narrow) == b)
		index_set_child(ix, back, sibling, is_narrow);
	else if (index_sibling(ix, back, is_narrow) == b)
		index_set_sibling(ix, back, sibling, is_narrow);
	else
		return false;
	if (sibling)
		index_set_back(ix, sibling, back, is_narrow);
	if (rest)
		*root = index_meld(ix, *root, rest, is_narrow);
	return true;
}

/* Bins. */

static inline unsigned int index_treap_bin(size_t size)
{
	unsigned int log = 63 - (unsigned int)__builtin_clzll(size);
	unsigned int sub = (unsigned int)(size >> (log - INDEX_SUBBINS_SHIFT));

	sub &= (1u << INDEX_SUBBINS_SHIFT) - 1;
	return (unsigned int)INDEX_FIRST_TREAP + ((log - 10) << INDEX_SUBBINS_SHIFT) + sub;
}

static inline unsigned int index_exact_bin(size_t size)
{
	return INDEX_FIRST_EXACT + (unsigned int)(size / 8) - 3;
}

static inline unsigned int index_narrow_bin(const struct index *ix, const struct block_meta *b)
{
	return (b->size > 8 ? INDEX_ZONES : 0) +
	       (unsigned int)(((uintptr_t)b - ix->base) >> INDEX_ZONE_SHIFT);
}

static inline unsigned int index_bin_of(const struct index *ix, const struct block_meta *b)
{
	if (b->size > INDEX_EXACT_MAX)
		return index_treap_bin(b->size);
	return b->size > INDEX_NARROW_MAX ? index_exact_bin(b->size) : index_narrow_bin(ix, b);
}

/* The first bin that may have a block of at least size bytes, INDEX_EXACT_MAX at most. */
static inline unsigned int index_first_bin(size_t size)
{
	if (size > INDEX_NARROW_MAX)
		return index_exact_bin(size);
	return size > 8 ? INDEX_ZONES : 0;
}

static inline void index_mark_occupied(struct index *ix, unsigned int bin)
{
	ix->occupied[bin / 64] |= UINT64_C(1) << (bin % 64);
}

static inline void index_mark_empty(struct index *ix, unsigned int bin)
{
	ix->occupied[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
}

static inline void index_mark_if_empty(struct index *ix, unsigned int bin)
{
	if (!ix->bin[bin].block)
		index_mark_empty(ix, bin);
}

/* The first bin from bin on that is not empty, or INDEX_BINS. */
static inline unsigned int index_next_occupied(const struct index *ix, unsigned int bin)
{
	unsigned int w = bin / 64;
	uint64_t bits;

	if (bin >= INDEX_BINS)
		return INDEX_BINS;
	bits = ix->occupied[w] & (~UINT64_C(0) << (bin % 64));
	while (!bits) {
		if (++w == INDEX_WORDS)
			return INDEX_BINS;
		bits = ix->occupied[w];
	}
	return w * 64 + (unsigned int)__builtin_ctzll(bits);
}

static inline struct treap_node *index_node(struct block_meta *b)
{
	return (struct treap_node *)(void *)(b + 1);
}

static inline struct block_meta *index_block(struct treap_node *n)
{
	return n ? (struct block_meta *)(void *)n - 1 : NULL;
}

/*
 * All ones or 0, to choose with. The compiler is not to know that it is one of these, or it
 * branches; and these are toss-ups, of which a wrong guess costs as much as 150 instructions.
 */
INDEX_HOT uint64_t index_mask(bool is)
{
	uint64_t mask = -(uint64_t)is;

	__asm__("" : "+r"(mask));
	return mask;
}

INDEX_HOT struct block_meta *index_choose(uint64_t mask, struct block_meta *a, struct block_meta *b)
{
	return (struct block_meta *)((uintptr_t)b ^ (((uintptr_t)a ^ (uintptr_t)b) & mask));
}

/* Few blocks. */

INDEX_HOT uint64_t index_key(const struct index *ix, const struct block_meta *b, size_t size)
{
	return (uint64_t)size << INDEX_KEY_SHIFT | ((uintptr_t)b - ix->base);
}

INDEX_HOT struct block_meta *index_key_block(const struct index *ix, uint64_t key)
{
	return (struct block_meta *)(ix->base + (uintptr_t)(uint32_t)key);
}

INDEX_HOT size_t index_key_size(uint64_t key)
{
	return (size_t)(key >> INDEX_KEY_SHIFT);
}

INDEX_HOT uint64_t index_lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * The least key from want on, less want; keys below want come out, modulo 2^64, as the greatest.
 * Two minima at a time, because each has to wait for the one before.
 */
INDEX_HOT uint64_t index_least_over(const struct index *ix, uint64_t want)
{
	const uint64_t *key = ix->key, *end = key + ix->count;
	uint64_t a = UINT64_MAX, b = a;

	for (; key < end; key += INDEX_STRIDE) {
		a = index_lesser(a, key[0] - want);
		b = index_lesser(b, key[1] - want);
		a = index_lesser(a, key[2] - want);
		b = index_lesser(b, key[3] - want);
		a = index_lesser(a, key[4] - want);
		b = index_lesser(b, key[5] - want);
		a = index_lesser(a, key[6] - want);
		b = index_lesser(b, key[7] - want);
	}
	return index_lesser(a, b);
}

/* index.c: of an index that is few. */
bool index_remove_few(struct index *ix, struct block_meta *b);
struct block_meta *index_take_few(struct index *ix, size_t size);

/*
 * index.c: what the functions below leave to it, any index but one of bins, the bins that are not
 * exact, and of the exact ones the blocks with children.
 */
void index_insert_other(struct index *ix, struct block_meta *b);
bool index_remove_other(struct index *ix, struct block_meta *b);
struct block_meta *index_take_other(struct index *ix, unsigned int bin);
struct block_meta *index_take_large(struct index *ix, size_t size);
struct block_meta *index_meld_exact(const struct index *ix, struct block_meta *first);

/* Whether blocks of size bytes are in an exact bin's pairing heap. */
static inline bool index_is_exact(const struct index *ix, size_t size)
{
	return (ix->kind == INDEX_MANY) &
	       (size - (INDEX_NARROW_MAX + 1) < INDEX_EXACT_MAX - INDEX_NARROW_MAX);
}

/* Insert b, free and unknown to the index. */
INDEX_HOT void index_insert(struct index *ix, struct block_meta *b)
{
	unsigned int bin;

	if (!index_is_exact(ix, b->size)) {
		index_insert_other(ix, b);
		return;
	}
	bin = index_exact_bin(b->size);
	*index_pad(b) = 0;
	index_heap_insert(ix, &ix->bin[bin].block, b, false);
	index_mark_occupied(ix, bin);
}

static inline bool index_remove_indexed(struct index *ix, struct block_meta *b)
{
	unsigned int bin;
	bool ok;

	if (!index_is_exact(ix, b->size))
		return index_remove_other(ix, b);
	bin = index_exact_bin(b->size);
	ok = index_heap_remove(ix, &ix->bin[bin].block, b, false);
	index_mark_if_empty(ix, bin);
	return ok;
}

INDEX_HOT struct block_meta *index_take_first(struct index *ix, unsigned int bin)
{
	struct block_meta *b, *rest;

	if (ix->kind != INDEX_MANY ||
	    bin - INDEX_FIRST_EXACT >= INDEX_FIRST_TREAP - INDEX_FIRST_EXACT)
		return index_take_other(ix, bin);
	b = ix->bin[bin].block;
	rest = index_follow_child(ix, b, false);
	if (rest && index_bin_of(ix, b) != bin)
		return b; /* its header is overwritten, and perhaps its links */
	ix->bin[bin].block = rest ? index_meld_exact(ix, rest) : NULL;
	index_mark_if_empty(ix, bin);
	return b;
}

/*
 * Take out the smallest block of at least size bytes, the lowest one among equals; NULL if none. A
 * block whose header is overwritten may be returned too, not taken out: the caller must look.
 */
INDEX_HOT struct block_meta *index_take(struct index *ix, size_t size)
{
	unsigned int bin;

	if (ix->kind == INDEX_FEW)
		return index_take_few(ix, size);
	if (size > INDEX_EXACT_MAX)
		return index_take_large(ix, size);
	bin = index_next_occupied(ix, index_first_bin(size));
	return bin < INDEX_BINS ? index_take_first(ix, bin) : NULL;
}

/* The pending list. */

static inline struct block_meta *index_from_units(uint64_t units)
{
	return (struct block_meta *)(uintptr_t)(units << 3);
}

static inline uint64_t index_to_units(const struct block_meta *b)
{
	return (uint64_t)(uintptr_t)b >> 3;
}

static inline struct block_meta *index_pending_next(struct block_meta *b)
{
	return index_from_units(*index_word(b) >> INDEX_LOW_BITS);
}

static inline struct block_meta *index_pending_prev(struct block_meta *b)
{
	uint64_t high = *index_pad(b) & ~INDEX_PENDING;

	return index_from_units((*index_word(b) & INDEX_LOW_MASK) | high << INDEX_LOW_BITS);
}

static inline void index_set_pending(struct block_meta *b, struct block_meta *prev,
				     struct block_meta *next)
{
	*index_word(b) =
		index_to_units(next) << INDEX_LOW_BITS | (index_to_units(prev) & INDEX_LOW_MASK);
	*index_pad(b) = INDEX_PENDING | (uint32_t)(index_to_units(prev) >> INDEX_LOW_BITS);
}

/* Make b, free and unknown to the index, pending. */
static inline void index_defer(struct index *ix, struct block_meta *b)
{
	struct block_meta *next = ix->pending;

	index_set_pending(b, NULL, next);
	if (next)
		index_set_pending(next, b, index_pending_next(next));
	ix->pending = b;
}

/* Take the newest pending block out, or NULL. */
static inline struct block_meta *index_next_pending(struct index *ix)
{
	struct block_meta *b = ix->pending, *next;

	if (!b)
		return NULL;
	next = index_pending_next(b);
	ix->pending = next;
	if (next)
		index_set_pending(next, NULL, index_pending_next(next));
	return b;
}

static inline bool index_remove_pending(struct index *ix, struct block_meta *b)
{
	struct block_meta *prev = index_pending_prev(b), *next = index_pending_next(b);

	if (prev ? index_pending_next(prev) != b : ix->pending != b)
		return false;
	if (prev)
		index_set_pending(prev, index_pending_prev(prev), next);
	else
		ix->pending = next;
	if (next)
		index_set_pending(next, prev, index_pending_next(next));
	return true;
}

/* Whether b, free, is pending rather than indexed. */
static inline bool index_is_pending(struct block_meta *b)
{
	return *index_pad(b) & INDEX_PENDING;
}

/* Take b out, pending or indexed. False: its links are overwritten, the index may be damaged. */
static inline bool index_remove(struct index *ix, struct block_meta *b)
{
	return index_is_pending(b) ? index_remove_pending(ix, b) : index_remove_indexed(ix, b);
}

/*
 * For an index that is not few: call visit for every indexed block of at least size bytes (above
 * INDEX_EXACT_MAX), the bins of the largest first, until it returns false. visit must not change
 * the index.
 */
void index_visit_large(const struct index *ix, size_t size,
		       bool (*visit)(struct block_meta *b, void *arg), void *arg);

/*
 * Check I1 to I4 as far as the index alone can, and count the blocks in *count. NULL, or the text
 * of the first invariant that does not hold. O(n).
 */
const char *index_check(const struct index *ix, size_t *count);
