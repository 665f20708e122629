/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The links of the index and of the treap of mapped blocks, which are stored inside the blocks. The
 * program may overwrite them, so each is validated before it is followed.
 *
 *	           size    status  padding              prev    next    payload
 *	header     64      32      32                   64      64      ...
 *	live                       checksum 32
 *	pending                    1 | place 31                         untouched
 *	free, 8                    0 | check 5 | right 26               left 45 | right 19
 *	free, 16                   0                                    left        right
 *	  and above 1024
 *	free, 24                   0                                    child       sibling     back
 *	  to 1024
 *	mapped                     checksum 32          left    right
 *
 * left and right are encoded links. The upper 48 bits are an address. The lower 16 are a keyed hash
 * of the address and of the location of the link. In a payload of 8 bytes, addresses are in units
 * of 8, and both links share a hash of 5 bits. Such links must also lead to free blocks of 8 bytes
 * in the heap. child, sibling and back are plain pointers. child and sibling must lead into the
 * heap, to a block whose back is the address of the link.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block_meta.h"
#include "hash.h"

#define LINKS_LOW_BITS 19
#define LINKS_LOW_MASK ((UINT64_C(1) << LINKS_LOW_BITS) - 1)
#define LINKS_HIGH_BITS 26
#define LINKS_HIGH_MASK ((UINT32_C(1) << LINKS_HIGH_BITS) - 1)
#define LINKS_PENDING (UINT32_C(1) << 31)

_Static_assert(sizeof(struct block_meta) == 32, "links are drawn for a 32-byte header");
_Static_assert(offsetof(struct block_meta, prev) - offsetof(struct block_meta, status) ==
		       sizeof(int) + 4,
	       "32 bits of padding behind status");
_Static_assert(offsetof(struct block_meta, next) == offsetof(struct block_meta, prev) + 8,
	       "left and right of a mapped block");

/* Part of the fast path of os_malloc or os_free. Inlining all of it halves the time of a call. */
#define HOT static inline __attribute__((always_inline))

/* The bounds of the heap, and the key of all hashes. */
struct links_heap {
	uintptr_t start;
	size_t size;
	uint64_t secret;
};

extern struct links_heap links_heap;

/* Report that a link of b is overwritten, and abort. In block_heap.c. */
void links_corrupted(const struct block_meta *b) __attribute__((noreturn, cold));

HOT uint32_t *links_padding(struct block_meta *b)
{
	return (uint32_t *)(void *)&b->prev - 1;
}

HOT uint64_t *links_payload(struct block_meta *b)
{
	return (uint64_t *)(void *)(b + 1);
}

/* Whether size bytes at p are in the heap. */
HOT bool links_are_in_heap(const void *p, size_t size)
{
	return (uintptr_t)p - links_heap.start <= links_heap.size - size;
}

HOT uint64_t links_hash(uint64_t h)
{
	return hash_full(h ^ links_heap.secret);
}

/* ---- Encoded links of 64 bits ---- */

HOT uint64_t links_encode(uint64_t address, const uint64_t *word)
{
	return address << 16 | links_hash(address ^ (uint64_t)(uintptr_t)word << 16) >> 48;
}

HOT bool links_is_valid(const uint64_t *word)
{
	return links_encode(*word >> 16, word) == *word;
}

HOT void links_store(uint64_t *word, const struct block_meta *to)
{
	*word = links_encode((uintptr_t)to, word);
}

/* The block that word, a link of b, leads to, or NULL. */
HOT struct block_meta *links_load(const struct block_meta *b, const uint64_t *word)
{
	if (__builtin_expect(!links_is_valid(word), 0))
		links_corrupted(b);
	return (struct block_meta *)(uintptr_t)(*word >> 16);
}

/* ---- Narrow links: two in the payload and padding of a block of 8 bytes ---- */

struct narrow_links {
	struct block_meta *left, *right;
};

HOT uint32_t links_narrow_checksum(const struct block_meta *b, uint64_t word, uint32_t high)
{
	return (uint32_t)(links_hash(word ^ (uint64_t)high << 32 ^ (uintptr_t)b) >> 59)
	       << LINKS_HIGH_BITS;
}

/* The links of b. links_follow_narrow validates the target of one. */
HOT struct narrow_links links_narrow(struct block_meta *b)
{
	uint64_t word = *links_payload(b);
	uint32_t padding = *links_padding(b), high = padding & LINKS_HIGH_MASK;
	uint64_t right = (uint64_t)high << LINKS_LOW_BITS | (word & LINKS_LOW_MASK);

	if (__builtin_expect((high | links_narrow_checksum(b, word, high)) != padding, 0))
		links_corrupted(b);
	return (struct narrow_links){
		(struct block_meta *)(uintptr_t)(word >> LINKS_LOW_BITS << 3),
		(struct block_meta *)(uintptr_t)(right << 3),
	};
}

HOT struct block_meta *links_follow_narrow(const struct block_meta *b, struct block_meta *to)
{
	if (to && __builtin_expect(!links_are_in_heap(to, sizeof(*to) + 8) ||
					   to->status != STATUS_FREE || to->size != 8,
				   0))
		links_corrupted(b);
	return to;
}

HOT void links_set_narrow(struct block_meta *b, struct narrow_links links)
{
	uint64_t left = (uintptr_t)links.left >> 3, right = (uintptr_t)links.right >> 3;
	uint64_t word = left << LINKS_LOW_BITS | (right & LINKS_LOW_MASK);
	uint32_t high = (uint32_t)(right >> LINKS_LOW_BITS);

	*links_payload(b) = word;
	*links_padding(b) = high | links_narrow_checksum(b, word, high);
}
