// SPDX-License-Identifier: BSD-3-Clause

/*
 * Validation of pointers and blocks, and precise reports. A report may walk the list: mostly the
 * process aborts afterwards.
 */

#include "block_core.h"

bool (*block_is_others)(const void *p);

/* ---- Ownership ---- */

/*
 * In a child that has lost the treap (block_fork.c): whether b is a mapped block from before the
 * fork. If so, it enters the treap. Reads b, which may fault for a bad pointer.
 */
static bool adopt(struct block_meta *b)
{
	if ((uintptr_t)b % sys_page_size() || b->status != STATUS_MAPPED || !block_has_checksum(b))
		return false;
	treap_insert(&course.mapped, b, TREAP_MAPPED);
	course.stats.mmap_calls++;
	course.stats.allocs++;
	course.stats.mapped_bytes += META + b->size;
	return true;
}

static bool is_mapped(struct block_meta *b)
{
	return treap_has(&course.mapped, b) || (course.has_strays && adopt(b));
}

bool block_is_ours(void *p)
{
	struct block_meta *b = (struct block_meta *)p - 1;
	bool is_ours;

	block_lock();
	is_ours = block_find_region(b) || is_mapped(b);
	block_unlock();
	return is_ours;
}

/* ---- Validation ---- */

bool block_has_valid_size(const struct region *r, const struct block_meta *b)
{
	size_t room = (size_t)(r->end - (const char *)b) - META;

	return room <= PTRDIFF_MAX && b->size <= room && b->size >= GRAIN && b->size % GRAIN == 0;
}

/* Whether b and its neighbours link to each other. Reads only memory of the regions. */
static bool is_linked(const struct region *r, const struct block_meta *b)
{
	const struct block_meta *next, *prev = b->prev;

	if (!block_has_valid_size(r, b))
		return false;
	next = block_expected_next(r, b);
	if (block_end(b) != r->end && r->end - block_end(b) <= (ptrdiff_t)META)
		return false;
	if (b->next != next || (next && next->prev != b))
		return false;
	if ((const char *)b == r->start)
		return r == block_regions ? !prev : block_is_in(r - 1, prev) && prev->next == b;
	return (const char *)prev >= r->start && prev < b && (uintptr_t)prev % GRAIN == 0 &&
	       prev->next == b;
}

static bool is_free_or_live(struct block_meta *b)
{
	return b->status == STATUS_FREE || (b->status == STATUS_ALLOC && block_has_checksum(b));
}

void block_require_region_end(struct block_meta *b)
{
	const struct region *r = block_find_region(b);

	if (!is_free_or_live(b) || !r || block_end(b) != r->end ||
	    b->next != block_expected_next(r, b))
		block_corrupted(b);
}

void block_check_neighbours(struct block_meta *b)
{
	struct region *r = block_find_region(b);
	struct block_meta *next;

	if (!r || b->status != STATUS_FREE)
		block_corrupted(b);
	next = b->next;
	if (!is_linked(r, b)) /* blame next only if b->next is valid */
		block_corrupted(next == block_expected_next(r, b) && next && next->prev != b ? next
											     : b);
	if ((char *)b != r->start && block_end(b->prev) != (char *)b)
		block_corrupted(b->prev);
	if (next && !is_free_or_live(next))
		block_corrupted(next);
}

/* ---- Reports ---- */

/*
 * Walk r to the block whose header or payload contains p. *is_damaged: the walk stopped at an
 * overwritten header, that of this block or of one before it.
 */
static struct block_meta *find_block(struct region *r, const char *p, bool *is_damaged)
{
	struct block_meta *b = block_at(r->start), *prev = b->prev;

	*is_damaged = false;
	while ((char *)b < r->end) {
		if (!is_free_or_live(b) || !block_has_valid_size(r, b) || b->prev != prev ||
		    (block_end(b) < r->end && (char *)b->next != block_end(b))) {
			*is_damaged = true;
			return b;
		}
		if (p < block_end(b))
			return b;
		prev = b;
		b = block_at(block_end(b));
	}
	return NULL;
}

/* Releases the lock. */
static __attribute__((cold)) void bad_in_region(struct region *r, const char *call, char *p)
{
	bool is_damaged, is_free;
	struct block_meta *b = find_block(r, p < r->end ? p : p - META, &is_damaged);
	char *payload = (char *)(b + 1);
	size_t size = b->size;

	is_free = b->status == STATUS_FREE;
	block_unlock();
	if (is_damaged && payload == p)
		sys_fatal(call, p, "the header of this block is overwritten");
	if (is_damaged)
		sys_fatal(call, p, "the header of the block at 0x%lx before it is overwritten",
			  (unsigned long)(uintptr_t)payload);
	if (payload != p)
		sys_misuse(call, p, "not the start of a block, but inside %s of %lu bytes at 0x%lx",
			   is_free ? "a free one" : "one", (unsigned long)size,
			   (unsigned long)(uintptr_t)payload);
	else if (is_free)
		sys_misuse(call, p, "this block is already free");
	else
		sys_fatal(call, p, "the header of the block behind this one is overwritten");
}

/* Releases the lock. */
static __attribute__((cold)) void bad_pointer(const char *call, void *p)
{
	struct block_meta *b = (struct block_meta *)p - 1;
	struct region *r = block_find_region(b);
	bool was_mapped;

	if ((uintptr_t)p % course.grain == 0 && r) {
		bad_in_region(r, call, p);
		return;
	}
	was_mapped = is_mapped(b);
	block_unlock();
	if (was_mapped)
		sys_fatal(call, p, "the header of this block is overwritten");
	if ((uintptr_t)p % course.grain)
		sys_misuse(call, p, "not a block: not aligned to %lu bytes",
			   (unsigned long)course.grain);
	else if (block_is_others && block_is_others(p))
		sys_misuse(call, p, "a block of malloc, not of os_malloc");
	else
		sys_misuse(call, p, "not a block of this allocator");
}

/* Handles everything but a live block of the heap. */
struct block_meta *block_of_slow(const char *call, void *p, bool may_be_free)
{
	struct block_meta *b = (struct block_meta *)p - 1;
	struct region *r = block_find_region(b);

	/* The header may be unmapped. */
	if ((uintptr_t)p % course.grain || (r && (char *)p >= r->end)) {
		bad_pointer(call, p);
		return NULL;
	}
	if (r && may_be_free && b->status == STATUS_FREE && is_linked(r, b))
		return b;
	if (!r && is_mapped(b) && block_has_checksum(b) &&
	    links_is_valid(treap_word(b, TREAP_LEFT, TREAP_MAPPED)) &&
	    links_is_valid(treap_word(b, TREAP_RIGHT, TREAP_MAPPED)))
		return b;
	bad_pointer(call, p);
	return NULL;
}
