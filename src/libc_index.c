// SPDX-License-Identifier: BSD-3-Clause

#include "libc_index.h"

/* Few blocks. */

static void become_many(struct index *ix)
{
	ix->kind = INDEX_MANY;
	while (ix->count) {
		uint64_t key = ix->key[--ix->count];
		struct block_meta *b = index_key_block(ix, key);

		ix->key[ix->count] = 0;
		if (b->size != index_key_size(key))
			index_damaged(b); /* or it would be put anywhere */
		index_insert(ix, b);
	}
}

static void insert_few(struct index *ix, struct block_meta *b)
{
	if (ix->count == INDEX_FEW_MAX ||
	    (uintptr_t)(b + 1) + b->size - ix->base > INDEX_KEY_SPAN) {
		become_many(ix);
		index_insert(ix, b);
		return;
	}
	ix->key[ix->count] = index_key(ix, b, b->size);
	*index_pad(b) = ix->count++;
}

bool index_remove_few(struct index *ix, struct block_meta *b)
{
	uint32_t at = *index_pad(b);
	uint64_t last;

	if (at >= ix->count || ix->key[at] != index_key(ix, b, b->size))
		return false;
	last = ix->key[--ix->count];
	ix->key[at] = last;
	*index_pad(index_key_block(ix, last)) = at;
	ix->key[ix->count] = 0;
	return true;
}

struct block_meta *index_take_few(struct index *ix, size_t size)
{
	uint64_t want = (uint64_t)size << INDEX_KEY_SHIFT, key;
	struct block_meta *b;

	if (size >= INDEX_KEY_SPAN)
		return NULL;
	key = index_least_over(ix, want) + want;
	if (key < want)
		return NULL;
	b = index_key_block(ix, key);
	index_remove_few(ix, b);
	return b;
}

/* Bins. */

static bool is_treap(const struct index *ix, unsigned int bin)
{
	return bin >= INDEX_FIRST_TREAP || ix->kind == INDEX_TREES;
}

static struct treap_node *treap_root(const struct index *ix, unsigned int bin)
{
	return ix->bin[bin].node ? treap_get(&ix->bin[bin].node, ix->secret) : NULL;
}

static bool treap_take_out(struct index *ix, unsigned int bin, struct treap_node *n)
{
	bool ok = treap_remove(&ix->bin[bin].node, n, true, ix->secret);

	if (treap_root(ix, bin))
		return ok;
	ix->bin[bin].node = NULL; /* I2 */
	index_mark_empty(ix, bin);
	return ok;
}

void index_insert_other(struct index *ix, struct block_meta *b)
{
	unsigned int bin;

	if (ix->kind == INDEX_FEW) {
		insert_few(ix, b);
		return;
	}
	bin = index_bin_of(ix, b);
	*index_pad(b) = 0;
	if (is_treap(ix, bin))
		treap_insert(&ix->bin[bin].node, index_node(b), true, ix->secret);
	else
		index_heap_insert(ix, &ix->bin[bin].block, b, true);
	index_mark_occupied(ix, bin);
}

bool index_remove_other(struct index *ix, struct block_meta *b)
{
	unsigned int bin;
	bool ok;

	if (ix->kind == INDEX_FEW)
		return index_remove_few(ix, b);
	bin = index_bin_of(ix, b);
	if (is_treap(ix, bin))
		return treap_take_out(ix, bin, index_node(b));
	ok = index_heap_remove(ix, &ix->bin[bin].block, b, true);
	index_mark_if_empty(ix, bin);
	return ok;
}

static struct block_meta *take_narrow(struct index *ix, unsigned int bin)
{
	struct block_meta *b = ix->bin[bin].block;

	if (index_bin_of(ix, b) != bin)
		return b; /* its header is overwritten, and perhaps its links */
	ix->bin[bin].block = index_meld_siblings(ix, index_follow_child(ix, b, true), true);
	index_mark_if_empty(ix, bin);
	return b;
}

/* The smallest of at least size bytes in a treap, or NULL; overwritten headers as in index_take. */
static struct block_meta *take_from_treap(struct index *ix, unsigned int bin, size_t size)
{
	struct treap_node *n = treap_root(ix, bin);

	if (n && index_bin_of(ix, index_block(n)) == bin) {
		n = treap_first_of_size(&ix->bin[bin].node, size, ix->secret);
		if (n)
			treap_take_out(ix, bin, n);
	}
	return index_block(n);
}

struct block_meta *index_take_other(struct index *ix, unsigned int bin)
{
	return is_treap(ix, bin) ? take_from_treap(ix, bin, 0) : take_narrow(ix, bin);
}

struct block_meta *index_take_large(struct index *ix, size_t size)
{
	unsigned int bin = index_treap_bin(size);
	struct block_meta *b;

	if (bin >= INDEX_BINS)
		return NULL; /* more than there are addresses */
	b = take_from_treap(ix, bin, size);
	if (b)
		return b;
	bin = index_next_occupied(ix, bin + 1);
	return bin < INDEX_BINS ? index_take_other(ix, bin) : NULL;
}

struct block_meta *index_meld_exact(const struct index *ix, struct block_meta *first)
{
	return index_meld_siblings(ix, first, false);
}

/* Visiting and checking. Recursion is bounded by the depth of a treap, O(log n). */

struct visit {
	const struct index *ix;
	size_t size;
	bool (*visit)(struct block_meta *b, void *arg);
	void *arg;
};

static bool visit_treap(struct treap_node *n, const struct visit *v)
{
	if (!n)
		return true;
	if (!visit_treap(treap_get(&n->right, v->ix->secret), v))
		return false;
	if (treap_size(n) >= v->size && !v->visit(index_block(n), v->arg))
		return false;
	return visit_treap(treap_get(&n->left, v->ix->secret), v);
}

void index_visit_large(const struct index *ix, size_t size,
		       bool (*visit)(struct block_meta *b, void *arg), void *arg)
{
	struct visit v = {.ix = ix, .size = size, .visit = visit, .arg = arg};
	unsigned int last = index_treap_bin(size);

	for (unsigned int bin = INDEX_BINS; bin-- > last;)
		if (!visit_treap(treap_root(ix, bin), &v))
			return;
}

/* The block after b in a pairing heap, parents before children; NULL at the end. */
static struct block_meta *next_in_heap(const struct index *ix, struct block_meta *b, bool is_narrow)
{
	struct block_meta *next = index_child(ix, b, is_narrow), *child;

	while (!next) {
		next = index_sibling(ix, b, is_narrow);
		if (next)
			break;
		do { /* back past the earlier siblings, up to the parent */
			child = b;
			b = index_back(ix, b, is_narrow);
			if (!b)
				return NULL;
		} while (index_child(ix, b, is_narrow) != child);
	}
	return next;
}

static const char *check_heap(const struct index *ix, unsigned int bin, bool is_narrow,
			      size_t *count)
{
	struct block_meta *b = ix->bin[bin].block, *child, *sibling;

	if (b && index_back(ix, b, is_narrow))
		return "I3: a root has a back link";
	for (; b; b = next_in_heap(ix, b, is_narrow)) {
		++*count;
		child = index_child(ix, b, is_narrow);
		sibling = index_sibling(ix, b, is_narrow);
		if (b->status != STATUS_FREE || index_bin_of(ix, b) != bin)
			return "I1: a block is in the wrong bin";
		if (child && (child <= b || index_back(ix, child, is_narrow) != b))
			return "I3: a child is below its parent, or does not lead back";
		if (sibling && index_back(ix, sibling, is_narrow) != b)
			return "I3: a sibling does not lead back";
	}
	return NULL;
}

static const char *check_treap(const struct index *ix, unsigned int bin, struct treap_node *n,
			       size_t *count)
{
	struct treap_node *left, *right;
	const char *fault;

	if (!n)
		return NULL;
	++*count;
	left = treap_get(&n->left, ix->secret);
	right = treap_get(&n->right, ix->secret);
	if (index_block(n)->status != STATUS_FREE || index_bin_of(ix, index_block(n)) != bin)
		return "I1: a block is in the wrong bin";
	if ((left && !treap_before(left, n, true)) || (right && !treap_before(n, right, true)))
		return "T1: a treap is out of order";
	if ((left && treap_priority(left) > treap_priority(n)) ||
	    (right && treap_priority(right) > treap_priority(n)))
		return "T2: a child has a higher priority than its parent";
	fault = check_treap(ix, bin, left, count);
	return fault ? fault : check_treap(ix, bin, right, count);
}

static const char *check_pending(const struct index *ix, size_t *count)
{
	struct block_meta *prev = NULL;

	for (struct block_meta *b = ix->pending; b; b = index_pending_next(b)) {
		if (b->status != STATUS_FREE || !(*index_pad(b) & INDEX_PENDING) ||
		    index_pending_prev(b) != prev)
			return "I1: the pending list is broken";
		++*count;
		prev = b;
	}
	return NULL;
}

static const char *check_few(const struct index *ix, size_t *count)
{
	size_t n = sizeof(ix->key) / sizeof(ix->key[0]);

	if (ix->count > (ix->kind == INDEX_FEW ? INDEX_FEW_MAX : 0))
		return "I5: there are too many keys";
	for (size_t i = 0; i < n; i++) {
		struct block_meta *b = index_key_block(ix, ix->key[i]);

		if (i >= ix->count && ix->key[i])
			return "I5: there are keys behind the last";
		if (i < ix->count && (*index_pad(b) != i || b->status != STATUS_FREE ||
				      ix->key[i] != index_key(ix, b, b->size)))
			return "I5: a key is not its block's";
	}
	for (size_t i = 0; i < INDEX_WORDS && ix->kind == INDEX_FEW; i++)
		if (ix->occupied[i])
			return "I5: blocks are in bins although they are few";
	*count += ix->count;
	return NULL;
}

const char *index_check(const struct index *ix, size_t *count)
{
	const char *fault = check_pending(ix, count);

	if (!fault)
		fault = check_few(ix, count);
	for (unsigned int bin = 0; bin < INDEX_BINS && !fault; bin++) {
		bool bit = ix->occupied[bin / 64] >> (bin % 64) & 1;

		if (bit != !!ix->bin[bin].block)
			fault = "I2: the bitmap and the bins do not agree";
		else if (is_treap(ix, bin))
			fault = check_treap(ix, bin, treap_root(ix, bin), count);
		else
			fault = check_heap(ix, bin, bin < INDEX_FIRST_EXACT, count);
	}
	return fault;
}
