/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A pairing heap of free blocks by address: the root is the lowest block. Three links are in each
 * payload. Insertion, and removal of a block without children, take O(1). Other operations take
 * O(log n) amortised.
 *
 * The children of a block form a list: child is the first one, sibling the next. back is the
 * address of the only link to the block: the root, the child of its parent, or a sibling. So any
 * block is removed in the same way.
 *
 * Invariants, for every block b in a heap:
 *	P1 the address of a child is higher than its parent's
 *	P2 *back of b is b; the root has no sibling
 */

#pragma once

#include "links.h"

struct pairing_links {
	struct block_meta *child, *sibling;
	struct block_meta **back;
};

HOT struct pairing_links *pairing_links(struct block_meta *b)
{
	return (struct pairing_links *)(void *)(b + 1);
}

/* Validate and follow a link of b. Returns a block or NULL. */
HOT struct block_meta *pairing_follow(const struct block_meta *b, struct block_meta **link)
{
	struct block_meta *to = *link;

	if (to &&
	    __builtin_expect(!links_are_in_heap(to, sizeof(*to) + sizeof(struct pairing_links)) ||
				     pairing_links(to)->back != link,
			     0))
		links_corrupted(b);
	return to;
}

HOT void pairing_attach(struct block_meta **link, struct block_meta *b)
{
	*link = b;
	if (b)
		pairing_links(b)->back = link;
}

/* Make the higher of two roots the first child of the lower one. Returns the lower one. */
HOT struct block_meta *pairing_meld(struct block_meta *a, struct block_meta *b)
{
	struct block_meta *parent = a < b ? a : b, *child = a < b ? b : a;
	struct block_meta **first = &pairing_links(parent)->child;

	pairing_attach(&pairing_links(child)->sibling, pairing_follow(parent, first));
	pairing_attach(first, child);
	return parent;
}

/* Meld a list of siblings into one heap: first in pairs, then the pairs, the last one first. */
static __attribute__((noinline)) struct block_meta *pairing_meld_siblings(struct block_meta *first)
{
	struct block_meta *pairs = NULL, *root = NULL, *second, *next;

	for (; first; first = next) {
		second = pairing_follow(first, &pairing_links(first)->sibling);
		next = NULL;
		if (second) {
			next = pairing_follow(second, &pairing_links(second)->sibling);
			first = pairing_meld(first, second);
		}
		pairing_links(first)->sibling = pairs;
		pairs = first;
	}
	for (; pairs; pairs = next) {
		next = pairing_links(pairs)->sibling;
		root = root ? pairing_meld(root, pairs) : pairs;
	}
	return root;
}

HOT void pairing_set_root(struct block_meta **root, struct block_meta *b)
{
	pairing_links(b)->sibling = NULL;
	pairing_attach(root, b);
}

/* All ones or 0. The asm keeps the compiler from turning it into a branch. */
HOT uintptr_t pairing_mask(bool is)
{
	uintptr_t mask = -(uintptr_t)is;

	__asm__("" : "+r"(mask));
	return mask;
}

/* Meld without branches on the root: they are mispredicted half the time. */
HOT void pairing_insert(struct block_meta **root, struct block_meta *b)
{
	static struct pairing_links none; /* written only */
	uintptr_t is_lower = pairing_mask((uintptr_t)b - 1 < (uintptr_t)*root - 1);
	uintptr_t difference = ((uintptr_t)*root ^ (uintptr_t)b) & is_lower;
	struct block_meta *parent = (struct block_meta *)((uintptr_t)*root ^ difference);
	struct block_meta *child = (struct block_meta *)((uintptr_t)b ^ difference);
	struct pairing_links *links = child ? pairing_links(child) : &none;
	struct block_meta **first = &pairing_links(parent)->child, *next;

	pairing_links(b)->child = NULL;
	next = pairing_follow(parent, first);
	links->sibling = next;
	links->back = first;
	if (next)
		pairing_links(next)->back = &links->sibling;
	*first = child;
	pairing_set_root(root, parent);
}

/* Remove b. Its children, melded into one heap, take its place. */
HOT void pairing_remove(struct block_meta **root, struct block_meta *b)
{
	struct pairing_links *links = pairing_links(b);
	struct block_meta **back = links->back, *heir = pairing_follow(b, &links->sibling);
	struct block_meta *children = pairing_follow(b, &links->child);

	if (__builtin_expect(
		    (back != root && !links_are_in_heap(back, sizeof(uint64_t))) || *back != b, 0))
		links_corrupted(b);
	if (children) {
		children = pairing_meld_siblings(children);
		pairing_attach(&pairing_links(children)->sibling, heir);
		heir = children;
	}
	pairing_attach(back, heir);
}
