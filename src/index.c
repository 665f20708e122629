// SPDX-License-Identifier: BSD-3-Clause

#include "index.h"

#define PENDING 0x80000000u
#define LOW_BITS 19 /* of a wide back link, beside each 45-bit link */
#define LOW_MASK ((UINT64_C(1) << LOW_BITS) - 1)
#define NARROW_SIZE ((size_t)8) /* payloads with room for 31-bit links only */
#define ZONE_MASK ((UINT64_C(1) << INDEX_ZONE_SHIFT) - 1)

#define PAD_OFFSET (offsetof(struct block_meta, status) + sizeof(int))

_Static_assert(offsetof(struct block_meta, size) == 0, "size is the header's first word");
_Static_assert(PAD_OFFSET + 4 == offsetof(struct block_meta, prev), "32 bits of padding");
_Static_assert(sizeof(struct block_meta) == 32, "links are drawn for a 32-byte header");
_Static_assert(INDEX_WORDS <= 32, "occupied_words has a bit for each word");
_Static_assert(((UINT64_C(1) << INDEX_ZONE_SHIFT) >> 3) < (UINT64_C(1) << 31), "31-bit links");

/* The bits behind the links. */

static uint32_t *pad(struct block_meta *b)
{
	return (uint32_t *)(void *)((char *)b + PAD_OFFSET);
}

static uint64_t *word(struct block_meta *b, int i)
{
	return (uint64_t *)(void *)(b + 1) + i;
}

static struct block_meta *to_block(uint64_t units)
{
	return (struct block_meta *)(uintptr_t)(units << 3);
}

static uint64_t to_units(const struct block_meta *b)
{
	return (uint64_t)(uintptr_t)b >> 3;
}

static uintptr_t zone_start(const struct index *ix, const struct block_meta *b)
{
	return ix->base + (((uintptr_t)b - ix->base) & ~(uintptr_t)ZONE_MASK);
}

static struct block_meta *narrow_get(const struct index *ix, const struct block_meta *b,
				     uint32_t link)
{
	if (!link)
		return NULL;
	return (struct block_meta *)(zone_start(ix, b) + ((uintptr_t)(link - 1) << 3));
}

static uint32_t narrow_put(const struct index *ix, const struct block_meta *b)
{
	return b ? (uint32_t)((((uintptr_t)b - ix->base) & ZONE_MASK) >> 3) + 1 : 0;
}

/* Pairing heap links, for narrow (8-byte) and wide payloads; narrow is a constant in each caller.
 */

static inline struct block_meta *get_child(const struct index *ix, struct block_meta *b,
					   bool narrow)
{
	return narrow ? narrow_get(ix, b, (uint32_t)*word(b, 0))
		      : to_block(*word(b, 0) >> LOW_BITS);
}

static inline struct block_meta *get_sibling(const struct index *ix, struct block_meta *b,
					     bool narrow)
{
	return narrow ? narrow_get(ix, b, (uint32_t)(*word(b, 0) >> 32))
		      : to_block(*word(b, 1) >> LOW_BITS);
}

static inline struct block_meta *get_back(const struct index *ix, struct block_meta *b, bool narrow)
{
	uint64_t units;

	if (narrow)
		return narrow_get(ix, b, *pad(b));
	units = *word(b, 0) & LOW_MASK;
	units |= (*word(b, 1) & LOW_MASK) << LOW_BITS;
	units |= (uint64_t)*pad(b) << (2 * LOW_BITS);
	return to_block(units);
}

static inline void set_child(const struct index *ix, struct block_meta *b, struct block_meta *child,
			     bool narrow)
{
	uint64_t w = *word(b, 0);

	if (narrow)
		*word(b, 0) = (w & ~UINT64_C(0xffffffff)) | narrow_put(ix, child);
	else
		*word(b, 0) = (w & LOW_MASK) | to_units(child) << LOW_BITS;
}

static inline void set_sibling(const struct index *ix, struct block_meta *b,
			       struct block_meta *sibling, bool narrow)
{
	if (narrow)
		*word(b, 0) = (uint32_t)*word(b, 0) | (uint64_t)narrow_put(ix, sibling) << 32;
	else
		*word(b, 1) = (*word(b, 1) & LOW_MASK) | to_units(sibling) << LOW_BITS;
}

static inline void set_back(const struct index *ix, struct block_meta *b, struct block_meta *back,
			    bool narrow)
{
	uint64_t units = to_units(back);

	if (narrow) {
		*pad(b) = narrow_put(ix, back);
		return;
	}
	*word(b, 0) = (*word(b, 0) & ~LOW_MASK) | (units & LOW_MASK);
	*word(b, 1) = (*word(b, 1) & ~LOW_MASK) | ((units >> LOW_BITS) & LOW_MASK);
	*pad(b) = (uint32_t)(units >> (2 * LOW_BITS));
}

static inline void clear_links(struct block_meta *b, bool narrow)
{
	*pad(b) = 0;
	*word(b, 0) = 0;
	if (!narrow)
		*word(b, 1) = 0;
}

/* Pairing heaps: the root is the lowest address; equal sizes, so nothing else counts. */

/* Make the higher of two roots the first child of the lower, which is returned. */
static inline struct block_meta *meld(const struct index *ix, struct block_meta *a,
				      struct block_meta *b, bool narrow)
{
	struct block_meta *parent = a < b ? a : b, *child = a < b ? b : a;
	struct block_meta *first = get_child(ix, parent, narrow);

	set_sibling(ix, child, first, narrow);
	set_back(ix, child, parent, narrow);
	if (first)
		set_back(ix, first, child, narrow);
	set_child(ix, parent, child, narrow);
	return parent;
}

/* Meld a list of siblings into one heap, in pairs from the left, then all from the right. */
static inline struct block_meta *meld_siblings(const struct index *ix, struct block_meta *first,
					       bool narrow)
{
	struct block_meta *pairs = NULL, *root = NULL, *next;

	while (first) {
		struct block_meta *second = get_sibling(ix, first, narrow);

		next = NULL;
		if (second) {
			next = get_sibling(ix, second, narrow);
			first = meld(ix, first, second, narrow);
		}
		set_sibling(ix, first, pairs, narrow);
		pairs = first;
		first = next;
	}
	for (; pairs; pairs = next) {
		next = get_sibling(ix, pairs, narrow);
		root = root ? meld(ix, root, pairs, narrow) : pairs;
	}
	if (root) {
		set_sibling(ix, root, NULL, narrow);
		set_back(ix, root, NULL, narrow);
	}
	return root;
}

static inline void heap_insert(const struct index *ix, struct block_meta **root,
			       struct block_meta *b, bool narrow)
{
	clear_links(b, narrow);
	*root = *root ? meld(ix, *root, b, narrow) : b;
}

static inline bool heap_remove(const struct index *ix, struct block_meta **root,
			       struct block_meta *b, bool narrow)
{
	struct block_meta *back, *sibling,
		*rest = meld_siblings(ix, get_child(ix, b, narrow), narrow);

	if (b == *root) {
		*root = rest;
		return true;
	}
	back = get_back(ix, b, narrow);
	sibling = get_sibling(ix, b, narrow);
	if (!back)
		return false;
	if (get_child(ix, back, narrow) == b)
		set_child(ix, back, sibling, narrow);
	else if (get_sibling(ix, back, narrow) == b)
		set_sibling(ix, back, sibling, narrow);
	else
		return false;
	if (sibling)
		set_back(ix, sibling, back, narrow);
	if (rest)
		*root = meld(ix, *root, rest, narrow);
	return true;
}

/* Bins. */

static unsigned int treap_bin(size_t size)
{
	unsigned int log = 63 - (unsigned int)__builtin_clzll(size);
	unsigned int sub = (unsigned int)(size >> (log - INDEX_SUBBINS_SHIFT));

	sub &= (1u << INDEX_SUBBINS_SHIFT) - 1;
	return INDEX_FIRST_TREAP + ((log - 10) << INDEX_SUBBINS_SHIFT) + sub;
}

static unsigned int exact_bin(size_t size)
{
	return INDEX_ZONES + (unsigned int)(size / 8) - 2;
}

static unsigned int narrow_bin(const struct index *ix, const struct block_meta *b)
{
	return (unsigned int)(((uintptr_t)b - ix->base) >> INDEX_ZONE_SHIFT);
}

static unsigned int bin_of(const struct index *ix, const struct block_meta *b)
{
	if (b->size > INDEX_EXACT_MAX)
		return treap_bin(b->size);
	return b->size == NARROW_SIZE ? narrow_bin(ix, b) : exact_bin(b->size);
}

static void mark_occupied(struct index *ix, unsigned int bin)
{
	ix->occupied[bin / 64] |= UINT64_C(1) << (bin % 64);
	ix->occupied_words |= 1u << (bin / 64);
}

static void mark_if_empty(struct index *ix, unsigned int bin)
{
	if (ix->bin[bin].block)
		return;
	ix->occupied[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
	if (!ix->occupied[bin / 64])
		ix->occupied_words &= ~(1u << (bin / 64));
}

/* The first bin from bin on that is not empty, or INDEX_BINS. */
static unsigned int next_occupied(const struct index *ix, unsigned int bin)
{
	unsigned int w = bin / 64;
	uint64_t bits;
	uint32_t words;

	if (bin >= INDEX_BINS)
		return INDEX_BINS;
	bits = ix->occupied[w] & (~UINT64_C(0) << (bin % 64));
	if (!bits) {
		words = ix->occupied_words & ~((2u << w) - 1);
		if (!words)
			return INDEX_BINS;
		w = (unsigned int)__builtin_ctz(words);
		bits = ix->occupied[w];
	}
	return w * 64 + (unsigned int)__builtin_ctzll(bits);
}

static struct treap_node *to_node(struct block_meta *b)
{
	return (struct treap_node *)(void *)(b + 1);
}

static struct block_meta *from_node(struct treap_node *n)
{
	return n ? (struct block_meta *)(void *)n - 1 : NULL;
}

void index_insert(struct index *ix, struct block_meta *b)
{
	unsigned int bin = bin_of(ix, b);

	if (bin >= INDEX_FIRST_TREAP) {
		*pad(b) = 0;
		treap_insert(&ix->bin[bin].node, to_node(b), true);
	} else if (bin >= INDEX_ZONES) {
		heap_insert(ix, &ix->bin[bin].block, b, false);
	} else {
		heap_insert(ix, &ix->bin[bin].block, b, true);
	}
	mark_occupied(ix, bin);
}

static bool remove_indexed(struct index *ix, struct block_meta *b)
{
	unsigned int bin = bin_of(ix, b);
	bool ok;

	if (bin >= INDEX_FIRST_TREAP)
		ok = treap_remove(&ix->bin[bin].node, to_node(b), true);
	else if (bin >= INDEX_ZONES)
		ok = heap_remove(ix, &ix->bin[bin].block, b, false);
	else
		ok = heap_remove(ix, &ix->bin[bin].block, b, true);
	mark_if_empty(ix, bin);
	return ok;
}

static struct block_meta *take_first(struct index *ix, unsigned int bin)
{
	struct block_meta *b;

	if (bin >= INDEX_FIRST_TREAP) {
		b = from_node(treap_first(ix->bin[bin].node));
		treap_remove(&ix->bin[bin].node, to_node(b), true);
	} else {
		b = ix->bin[bin].block;
		ix->bin[bin].block = bin >= INDEX_ZONES
					     ? meld_siblings(ix, get_child(ix, b, false), false)
					     : meld_siblings(ix, get_child(ix, b, true), true);
	}
	mark_if_empty(ix, bin);
	return b;
}

struct block_meta *index_take(struct index *ix, size_t size)
{
	unsigned int bin;
	struct block_meta *b;

	if (size <= INDEX_EXACT_MAX) {
		bin = next_occupied(ix, size <= NARROW_SIZE ? 0 : exact_bin(size));
	} else {
		bin = treap_bin(size);
		b = from_node(treap_first_of_size(ix->bin[bin].node, size));
		if (b) {
			remove_indexed(ix, b);
			return b;
		}
		bin = next_occupied(ix, bin + 1);
	}
	return bin < INDEX_BINS ? take_first(ix, bin) : NULL;
}

/* The pending list. */

static struct block_meta *pending_next(struct block_meta *b)
{
	return to_block(*word(b, 0) >> LOW_BITS);
}

static struct block_meta *pending_prev(struct block_meta *b)
{
	return to_block((*word(b, 0) & LOW_MASK) | (uint64_t)(*pad(b) & ~PENDING) << LOW_BITS);
}

static void set_pending(struct block_meta *b, struct block_meta *prev, struct block_meta *next)
{
	*word(b, 0) = to_units(next) << LOW_BITS | (to_units(prev) & LOW_MASK);
	*pad(b) = PENDING | (uint32_t)(to_units(prev) >> LOW_BITS);
}

void index_defer(struct index *ix, struct block_meta *b)
{
	struct block_meta *next = ix->pending;

	set_pending(b, NULL, next);
	if (next)
		set_pending(next, b, pending_next(next));
	ix->pending = b;
	ix->pending_count++;
}

static bool remove_pending(struct index *ix, struct block_meta *b)
{
	struct block_meta *prev = pending_prev(b), *next = pending_next(b);

	if (prev ? pending_next(prev) != b : ix->pending != b)
		return false;
	if (prev)
		set_pending(prev, pending_prev(prev), next);
	else
		ix->pending = next;
	if (next)
		set_pending(next, prev, pending_next(next));
	ix->pending_count--;
	return true;
}

struct block_meta *index_next_pending(struct index *ix)
{
	struct block_meta *b = ix->pending;

	if (b)
		remove_pending(ix, b);
	return b;
}

bool index_remove(struct index *ix, struct block_meta *b)
{
	return *pad(b) & PENDING ? remove_pending(ix, b) : remove_indexed(ix, b);
}

/* Visiting and checking. Recursion is bounded by the depth of a treap, O(log n). */

struct visit {
	size_t size;
	bool (*visit)(struct block_meta *b, void *arg);
	void *arg;
};

static bool visit_treap(struct treap_node *n, const struct visit *v)
{
	if (!n)
		return true;
	if (!visit_treap(n->right, v))
		return false;
	if (treap_size(n) >= v->size && !v->visit(from_node(n), v->arg))
		return false;
	return visit_treap(n->left, v);
}

void index_visit_large(const struct index *ix, size_t size,
		       bool (*visit)(struct block_meta *b, void *arg), void *arg)
{
	struct visit v = {.size = size, .visit = visit, .arg = arg};
	unsigned int last = treap_bin(size);

	for (unsigned int bin = INDEX_BINS; bin-- > last;)
		if (!visit_treap(ix->bin[bin].node, &v))
			return;
}

/* The block after b in a pairing heap, parents before children; NULL at the end. */
static struct block_meta *next_in_heap(const struct index *ix, struct block_meta *b, bool narrow)
{
	struct block_meta *next = get_child(ix, b, narrow), *child;

	while (!next) {
		next = get_sibling(ix, b, narrow);
		if (next)
			break;
		do { /* back past the earlier siblings, up to the parent */
			child = b;
			b = get_back(ix, b, narrow);
			if (!b)
				return NULL;
		} while (get_child(ix, b, narrow) != child);
	}
	return next;
}

static const char *check_heap(const struct index *ix, unsigned int bin, bool narrow, size_t *count)
{
	struct block_meta *b = ix->bin[bin].block, *child, *sibling;

	if (b && get_back(ix, b, narrow))
		return "I3: a root has a back link";
	for (; b; b = next_in_heap(ix, b, narrow)) {
		++*count;
		child = get_child(ix, b, narrow);
		sibling = get_sibling(ix, b, narrow);
		if (b->status != STATUS_FREE || bin_of(ix, b) != bin)
			return "I1: a block is in the wrong bin";
		if (child && (child <= b || get_back(ix, child, narrow) != b))
			return "I3: a child is below its parent, or does not lead back";
		if (sibling && get_back(ix, sibling, narrow) != b)
			return "I3: a sibling does not lead back";
	}
	return NULL;
}

static const char *check_treap(const struct index *ix, unsigned int bin, struct treap_node *n,
			       size_t *count)
{
	const char *fault;

	if (!n)
		return NULL;
	++*count;
	if (from_node(n)->status != STATUS_FREE || bin_of(ix, from_node(n)) != bin)
		return "I1: a block is in the wrong bin";
	if ((n->left && !treap_before(n->left, n, true)) ||
	    (n->right && !treap_before(n, n->right, true)))
		return "T1: a treap is out of order";
	if ((n->left && treap_priority(n->left) > treap_priority(n)) ||
	    (n->right && treap_priority(n->right) > treap_priority(n)))
		return "T2: a child has a higher priority than its parent";
	fault = check_treap(ix, bin, n->left, count);
	return fault ? fault : check_treap(ix, bin, n->right, count);
}

static const char *check_pending(const struct index *ix, size_t *count)
{
	size_t n = 0;

	for (struct block_meta *b = ix->pending, *prev = NULL; b; prev = b, b = pending_next(b)) {
		if (b->status != STATUS_FREE || !(*pad(b) & PENDING) || pending_prev(b) != prev)
			return "I1: the pending list is broken";
		if (++n > ix->pending_count)
			break;
	}
	*count += n;
	return n == ix->pending_count ? NULL : "I1: the pending list has the wrong length";
}

const char *index_check(const struct index *ix, size_t *count)
{
	const char *fault = check_pending(ix, count);

	for (unsigned int bin = 0; bin < INDEX_BINS && !fault; bin++) {
		bool bit = ix->occupied[bin / 64] >> (bin % 64) & 1;

		if (bit != !!ix->bin[bin].block || (bit && !(ix->occupied_words >> (bin / 64) & 1)))
			fault = "I2: the bitmap and the bins do not agree";
		else if (bin >= INDEX_FIRST_TREAP)
			fault = check_treap(ix, bin, ix->bin[bin].node, count);
		else
			fault = check_heap(ix, bin, bin < INDEX_ZONES, count);
	}
	return fault;
}
