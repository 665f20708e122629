/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A treap of blocks: a binary search tree by key that is also a heap by priority. The priority is a
 * hash of the address, so it is not stored. The expected depth is O(log n). There are no parent
 * links and no recursion. The two links are inside the blocks (links.h):
 *
 *	TREAP_SIZED   free blocks by size, then address: two words of the payload
 *	TREAP_NARROW  free blocks of 8 bytes by address: the payload and the header's padding
 *	TREAP_MAPPED  mapped blocks by address: prev and next of the header
 *
 * Callers pass a constant kind, so the compiler specialises each function.
 *
 * Invariants, for every block b in a tree:
 *	T1 every block left of b is before b, every block right of b is after b
 *	T2 no child of b has a higher priority than b
 */

#pragma once

#include "hash.h"
#include "links.h"

enum treap_kind {
	TREAP_SIZED,
	TREAP_NARROW,
	TREAP_MAPPED,
};

enum treap_side {
	TREAP_LEFT,
	TREAP_RIGHT,
};

static inline uint64_t *treap_word(struct block_meta *b, enum treap_side side, enum treap_kind kind)
{
	return (kind == TREAP_MAPPED ? (uint64_t *)(void *)&b->prev : links_payload(b)) + side;
}

static inline struct block_meta *treap_get(struct block_meta *b, enum treap_side side,
					   enum treap_kind kind)
{
	struct block_meta *to;

	if (kind == TREAP_NARROW)
		return links_follow_narrow(b, side == TREAP_LEFT ? links_narrow(b).left
								 : links_narrow(b).right);
	to = links_load(b, treap_word(b, side, kind));
	/* One in 65,536 overwritten links has a valid hash by chance. */
	if (kind == TREAP_SIZED && to && __builtin_expect(!links_are_in_heap(to, sizeof(*to)), 0))
		links_corrupted(b);
	return to;
}

static inline void treap_set(struct block_meta *b, enum treap_side side, struct block_meta *to,
			     enum treap_kind kind)
{
	struct narrow_links links;

	if (kind != TREAP_NARROW) {
		links_store(treap_word(b, side, kind), to);
		return;
	}
	links = links_narrow(b);
	if (side == TREAP_LEFT)
		links.left = to;
	else
		links.right = to;
	links_set_narrow(b, links);
}

static inline void treap_clear(struct block_meta *b, enum treap_kind kind)
{
	if (kind == TREAP_NARROW) /* both at once: their common checksum is not valid yet */
		links_set_narrow(b, (struct narrow_links){NULL, NULL});
	treap_set(b, TREAP_LEFT, NULL, kind);
	treap_set(b, TREAP_RIGHT, NULL, kind);
}

/* The location of a link: a side of a block, or the root if of is NULL. */
struct treap_place {
	struct block_meta *of;
	enum treap_side side;
};

static inline struct block_meta *treap_at(struct block_meta *const *root, struct treap_place place,
					  enum treap_kind kind)
{
	return place.of ? treap_get(place.of, place.side, kind) : *root;
}

static inline void treap_put(struct block_meta **root, struct treap_place place,
			     struct block_meta *b, enum treap_kind kind)
{
	if (place.of)
		treap_set(place.of, place.side, b, kind);
	else
		*root = b;
}

static inline uint64_t treap_priority(const struct block_meta *b)
{
	return hash_full((uintptr_t)b);
}

static inline bool treap_before(const struct block_meta *a, const struct block_meta *b,
				enum treap_kind kind)
{
	if (kind == TREAP_SIZED && a->size != b->size)
		return a->size < b->size;
	return a < b;
}

/* The link of t that leads towards b. */
static inline struct treap_place treap_towards(struct block_meta *t, const struct block_meta *b,
					       enum treap_kind kind)
{
	return (struct treap_place){t, treap_before(b, t, kind) ? TREAP_LEFT : TREAP_RIGHT};
}

/* Insert b: descend to the place for its priority, then split the subtree there at b. */
static inline void treap_insert(struct block_meta **root, struct block_meta *b,
				enum treap_kind kind)
{
	struct treap_place at = {NULL, TREAP_LEFT}, less = {b, TREAP_LEFT}, more = {b, TREAP_RIGHT};
	uint64_t priority = treap_priority(b);
	struct block_meta *t = *root;

	while (t && treap_priority(t) >= priority) {
		at = treap_towards(t, b, kind);
		t = treap_at(root, at, kind);
	}
	treap_put(root, at, b, kind);
	treap_clear(b, kind);
	while (t) {
		if (treap_before(t, b, kind)) {
			treap_put(root, less, t, kind);
			less = (struct treap_place){t, TREAP_RIGHT};
			t = treap_at(root, less, kind);
		} else {
			treap_put(root, more, t, kind);
			more = (struct treap_place){t, TREAP_LEFT};
			t = treap_at(root, more, kind);
		}
	}
	treap_put(root, less, NULL, kind);
	treap_put(root, more, NULL, kind);
}

/* Remove b, which is at this place. Its merged subtrees replace it. */
static inline void treap_remove_at(struct block_meta **root, struct treap_place at,
				   struct block_meta *b, enum treap_kind kind)
{
	struct block_meta *left = treap_get(b, TREAP_LEFT, kind);
	struct block_meta *right = treap_get(b, TREAP_RIGHT, kind);

	while (left && right) {
		if (treap_priority(left) >= treap_priority(right)) {
			treap_put(root, at, left, kind);
			at = (struct treap_place){left, TREAP_RIGHT};
			left = treap_at(root, at, kind);
		} else {
			treap_put(root, at, right, kind);
			at = (struct treap_place){right, TREAP_LEFT};
			right = treap_at(root, at, kind);
		}
	}
	treap_put(root, at, left ? left : right, kind);
}

/* Remove b. Returns false if it is not in the tree. */
static inline bool treap_remove(struct block_meta **root, struct block_meta *b,
				enum treap_kind kind)
{
	struct treap_place at = {NULL, TREAP_LEFT};
	struct block_meta *t;

	for (t = *root; t && t != b; t = treap_at(root, at, kind))
		at = treap_towards(t, b, kind);
	if (t)
		treap_remove_at(root, at, b, kind);
	return t;
}

/* Remove and return the first block of at least size bytes, or NULL. Not for mapped blocks. */
static inline struct block_meta *treap_take(struct block_meta **root, size_t size,
					    enum treap_kind kind)
{
	struct treap_place at = {NULL, TREAP_LEFT}, best_at = at;
	struct block_meta *best = NULL, *t;

	for (t = *root; t; t = treap_at(root, at, kind)) {
		if (t->size >= size) {
			best = t;
			best_at = at;
		}
		at = (struct treap_place){t, t->size >= size ? TREAP_LEFT : TREAP_RIGHT};
	}
	if (best)
		treap_remove_at(root, best_at, best, kind);
	return best;
}

/* Whether b is in a tree of mapped blocks. Does not read b. */
static inline bool treap_has(struct block_meta *const *root, const struct block_meta *b)
{
	struct block_meta *t = *root;

	while (t && t != b)
		t = treap_at(root, treap_towards(t, b, TREAP_MAPPED), TREAP_MAPPED);
	return t;
}
