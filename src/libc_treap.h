/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A treap: a binary search tree in the order of its keys that is at the same time a heap in the
 * order of its nodes' priorities. A priority is a hash of the node's address, so it costs no space
 * and the expected depth is O(log n) whatever the order of insertion. No parent links, no recursion
 * and no allocation: a node is two pointers inside the memory that it stands for.
 *
 * Two kinds of tree use it. Nodes of live mappings are ordered by address. Nodes of free blocks are
 * ordered by size, then address; the node is the first thing in the payload, so the size is the
 * first word of the header 32 bytes before it. Callers pass by_size as a constant, and the compiler
 * makes two copies of each function.
 *
 * Nodes of live mappings are in their headers, those of free blocks where payloads were: a program
 * may write there by mistake. So links are sealed: the address in the upper 48 bits, NULL too, and
 * in the lower 16 a hash of it, of the place it stands in and of a secret. A link that does not fit
 * is reported, not followed. The root of a tree that never had a node may be plain NULL.
 *
 * Invariants, for every node n in a tree:
 *	T1 every node left of n is before n, every node right of n is after n
 *	T2 no child of n has a higher priority than n
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block_meta.h"

#define treap_damaged libc_treap_damaged

struct treap_node {
	struct treap_node *left;
	struct treap_node *right;
};

/* The link at link is overwritten: report it and abort. The user of trees defines it. */
void treap_damaged(const void *link) __attribute__((noreturn, cold));

static inline uint64_t treap_seal(uint64_t address, struct treap_node *const *link, uint64_t secret)
{
	uint64_t h = (address ^ secret) * 0x9e3779b97f4a7c15u;

	h = (h ^ (h >> 32) ^ (uint64_t)(uintptr_t)link) * 0xd6e8feb86659fd93u;
	return address << 16 | h >> 48;
}

static inline bool treap_is_sound(struct treap_node *const *link, uint64_t secret)
{
	uint64_t sealed = (uint64_t)(uintptr_t)*link;

	return treap_seal(sealed >> 16, link, secret) == sealed;
}

static inline struct treap_node *treap_get(struct treap_node *const *link, uint64_t secret)
{
	if (__builtin_expect(!treap_is_sound(link, secret), 0))
		treap_damaged(link);
	return (struct treap_node *)((uintptr_t)*link >> 16);
}

static inline void treap_set(struct treap_node **link, struct treap_node *n, uint64_t secret)
{
	*link = (struct treap_node *)(uintptr_t)treap_seal((uintptr_t)n, link, secret);
}

static inline uint64_t treap_priority(const struct treap_node *n)
{
	uint64_t h = (uint64_t)(uintptr_t)n * 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio */

	return (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
}

static inline size_t treap_size(const struct treap_node *n)
{
	return ((const struct block_meta *)(const void *)n - 1)->size;
}

static inline bool treap_before(const struct treap_node *a, const struct treap_node *b,
				bool by_size)
{
	if (by_size && treap_size(a) != treap_size(b))
		return treap_size(a) < treap_size(b);
	return a < b;
}

/* The link of t that leads towards n. */
static inline struct treap_node **treap_towards(struct treap_node *t, const struct treap_node *n,
						bool by_size)
{
	return treap_before(n, t, by_size) ? &t->left : &t->right;
}

/* Insert n: descend to the place its priority gives it, then split what was there around it. */
static inline void treap_insert(struct treap_node **root, struct treap_node *n, bool by_size,
				uint64_t secret)
{
	struct treap_node **left = &n->left, **right = &n->right, *t;
	uint64_t priority = treap_priority(n);

	if (!*root)
		treap_set(root, NULL, secret);
	for (t = treap_get(root, secret); t && treap_priority(t) >= priority;
	     t = treap_get(root, secret))
		root = treap_towards(t, n, by_size);
	treap_set(root, n, secret);
	while (t) {
		if (treap_before(t, n, by_size)) {
			treap_set(left, t, secret);
			left = &t->right;
			t = treap_get(left, secret);
		} else {
			treap_set(right, t, secret);
			right = &t->left;
			t = treap_get(right, secret);
		}
	}
	treap_set(left, NULL, secret);
	treap_set(right, NULL, secret);
}

/* Remove n, merging its subtrees in its place; false if it is not in the tree, not empty. */
static inline bool treap_remove(struct treap_node **root, struct treap_node *n, bool by_size,
				uint64_t secret)
{
	struct treap_node *left, *right, *t;

	if (!*root)
		return false;
	for (t = treap_get(root, secret); t != n; t = treap_get(root, secret)) {
		if (!t)
			return false;
		root = treap_towards(t, n, by_size);
	}
	left = treap_get(&n->left, secret);
	right = treap_get(&n->right, secret);
	while (left && right) {
		if (treap_priority(left) >= treap_priority(right)) {
			treap_set(root, left, secret);
			root = &left->right;
			left = treap_get(root, secret);
		} else {
			treap_set(root, right, secret);
			root = &right->left;
			right = treap_get(root, secret);
		}
	}
	treap_set(root, left ? left : right, secret);
	return true;
}

/* The first node of at least size bytes in a tree ordered by size that had a node, or NULL. */
static inline struct treap_node *treap_first_of_size(struct treap_node *const *root, size_t size,
						     uint64_t secret)
{
	struct treap_node *best = NULL, *t;

	while ((t = treap_get(root, secret))) {
		bool fits = treap_size(t) >= size;

		best = fits ? t : best;
		root = fits ? &t->left : &t->right;
	}
	return best;
}

/* Whether n is in a tree ordered by address; n itself is not read. */
static inline bool treap_has(struct treap_node *const *root, const struct treap_node *n,
			     uint64_t secret)
{
	struct treap_node *t;

	if (!*root)
		return false;
	for (t = treap_get(root, secret); t && t != n; t = treap_get(root, secret))
		root = treap_towards(t, n, false);
	return t;
}
