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
 * Invariants, for every node n in a tree:
 *	T1 every node left of n is before n, every node right of n is after n
 *	T2 no child of n has a higher priority than n
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block_meta.h"

struct treap_node {
	struct treap_node *left;
	struct treap_node *right;
};

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

/* Insert n: descend to the place its priority gives it, then split what was there around it. */
static inline void treap_insert(struct treap_node **root, struct treap_node *n, bool by_size)
{
	struct treap_node **left = &n->left, **right = &n->right, *t;
	uint64_t priority = treap_priority(n);

	while (*root && treap_priority(*root) >= priority)
		root = treap_before(n, *root, by_size) ? &(*root)->left : &(*root)->right;
	t = *root;
	*root = n;
	while (t) {
		if (treap_before(t, n, by_size)) {
			*left = t;
			left = &t->right;
			t = t->right;
		} else {
			*right = t;
			right = &t->left;
			t = t->left;
		}
	}
	*left = NULL;
	*right = NULL;
}

/* Remove n, merging its subtrees in its place; false if it is not in the tree. */
static inline bool treap_remove(struct treap_node **root, const struct treap_node *n, bool by_size)
{
	struct treap_node *left, *right;

	while (*root != n) {
		if (!*root)
			return false;
		root = treap_before(n, *root, by_size) ? &(*root)->left : &(*root)->right;
	}
	left = n->left;
	right = n->right;
	while (left && right) {
		if (treap_priority(left) >= treap_priority(right)) {
			*root = left;
			root = &left->right;
			left = left->right;
		} else {
			*root = right;
			root = &right->left;
			right = right->left;
		}
	}
	*root = left ? left : right;
	return true;
}

static inline struct treap_node *treap_first(struct treap_node *t)
{
	while (t && t->left)
		t = t->left;
	return t;
}

/* The first node of at least size bytes in a tree ordered by size, or NULL. */
static inline struct treap_node *treap_first_of_size(struct treap_node *t, size_t size)
{
	struct treap_node *best = NULL;

	while (t) {
		if (treap_size(t) >= size) {
			best = t;
			t = t->left;
		} else {
			t = t->right;
		}
	}
	return best;
}

/* Whether n is in a tree ordered by address; n itself is not read. */
static inline bool treap_has(const struct treap_node *t, const struct treap_node *n)
{
	while (t && t != n)
		t = n < t ? t->left : t->right;
	return t;
}
