// SPDX-License-Identifier: BSD-3-Clause

#include "index.h"

/* Each operation calls the treap with a constant kind, so that the compiler specialises it. */

void index_insert_sized(struct index *ix, struct block_meta *b)
{
	size_t bin = index_bin_of(b->size);

	if (bin == 0)
		treap_insert(&ix->bin[bin], b, TREAP_NARROW);
	else
		treap_insert(&ix->bin[bin], b, TREAP_SIZED);
	index_set_bit(ix, bin);
}

bool index_remove_sized(struct index *ix, struct block_meta *b)
{
	size_t bin = index_bin_of(b->size);
	bool is_there;

	if (bin == 0)
		is_there = treap_remove(&ix->bin[bin], b, TREAP_NARROW);
	else
		is_there = treap_remove(&ix->bin[bin], b, TREAP_SIZED);
	if (!ix->bin[bin])
		index_clear_bit(ix, bin);
	return is_there;
}

/* Remove the first block of at least size bytes from a bin, or return NULL. */
struct block_meta *index_take_sized(struct index *ix, size_t bin, size_t size)
{
	struct block_meta *root = bin < INDEX_BINS ? ix->bin[bin] : NULL, *b;

	if (!root || index_bin_of(root->size) != bin) /* overwritten: the caller reports it */
		return root;
	if (bin == 0)
		b = treap_take(&ix->bin[bin], size, TREAP_NARROW);
	else
		b = treap_take(&ix->bin[bin], size, TREAP_SIZED);
	if (!ix->bin[bin])
		index_clear_bit(ix, bin);
	return b;
}

/* ---- The checker ---- */

/* The block whose link leads to b, which is not the root. *is_parent: that link is child. */
static struct block_meta *owner_of_link(struct block_meta *b, bool *is_parent)
{
	struct block_meta **back = pairing_links(b)->back;
	struct block_meta *parent = (struct block_meta *)(void *)back - 1;

	/* If the link is a sibling, this word is the padding and status of a free block: zero. */
	*is_parent = parent->size == b->size;
	return *is_parent ? parent : (struct block_meta *)(void *)(back - 1) - 1;
}

/* The block after b in preorder, or NULL. */
static struct block_meta *next_in_pairing(struct block_meta *root, struct block_meta *b)
{
	bool is_parent;

	if (pairing_links(b)->child)
		return pairing_links(b)->child;
	while (b != root && !pairing_links(b)->sibling)
		do
			b = owner_of_link(b, &is_parent);
		while (!is_parent);
	return b == root ? NULL : pairing_links(b)->sibling;
}

static bool is_in_bin(struct block_meta *b, size_t bin)
{
	return b->status == STATUS_FREE && !(*links_padding(b) & LINKS_PENDING) &&
	       index_bin_of(b->size) == bin;
}

static const char *check_pairing(struct block_meta *const *root, size_t bin, size_t *count)
{
	struct pairing_links *links;

	if (*root && pairing_links(*root)->back != root)
		return "P2: a root does not lead back";
	for (struct block_meta *b = *root; b; b = next_in_pairing(*root, b)) {
		++*count;
		links = pairing_links(b);
		if (!is_in_bin(b, bin))
			return "I1: a block is in the wrong bin";
		if (links->child &&
		    (links->child <= b || pairing_links(links->child)->back != &links->child))
			return "P1, P2: a child is below its parent, or does not lead back";
		if (links->sibling &&
		    (b == *root || pairing_links(links->sibling)->back != &links->sibling))
			return "P2: a root has a sibling, or a sibling does not lead back";
	}
	return NULL;
}

/* Recursion is bounded by the depth of a treap, O(log n). */
static const char *check_treap(struct block_meta *b, enum treap_kind kind, size_t bin,
			       size_t *count)
{
	struct block_meta *left, *right;
	const char *fault;

	if (!b)
		return NULL;
	++*count;
	if (!is_in_bin(b, bin))
		return "I1: a block is in the wrong bin";
	left = treap_get(b, TREAP_LEFT, kind);
	right = treap_get(b, TREAP_RIGHT, kind);
	if ((left && !treap_before(left, b, kind)) || (right && !treap_before(b, right, kind)))
		return "T1: a treap is out of order";
	if ((left && treap_priority(left) > treap_priority(b)) ||
	    (right && treap_priority(right) > treap_priority(b)))
		return "T2: a child has a higher priority than its parent";
	fault = check_treap(left, kind, bin, count);
	return fault ? fault : check_treap(right, kind, bin, count);
}

const char *index_check(const struct index *ix, size_t *count)
{
	const char *fault = NULL;

	for (size_t bin = 0; bin < INDEX_BINS && !fault; bin++) {
		bool bit = ix->occupied[bin / 64] >> (bin % 64) & 1;

		if (bit != !!ix->bin[bin])
			fault = "I2: the bitmap and the bins do not agree";
		else if (bin >= INDEX_FIRST_PAIRING && bin < INDEX_FIRST_SIZED)
			fault = check_pairing(&ix->bin[bin], bin, count);
		else
			fault = check_treap(ix->bin[bin], bin ? TREAP_SIZED : TREAP_NARROW, bin,
					    count);
	}
	return fault;
}
