// SPDX-License-Identifier: BSD-3-Clause

/*
 * Mapped blocks between guard pages, for OSMEM_OPTIONS=hardened (hardened.h).
 *
 *	| guard, and what the class has more | header, payload …                | guard |
 *	low                                  start, a page boundary           end, a page boundary
 *
 * The payload ends at end, unless its alignment does not let it. What is freed is kept for the next
 * of its size (kept.h). What is not, or no longer, becomes inaccessible as a whole, and its
 * addresses are not given back before QUARANTINE others became so. That takes no lock and is whole
 * at every moment, for a fork: a place in the quarantine is one word.
 *
 * The kernel may refuse to unmap, at its limit of mappings. No note can be left in a place that is
 * inaccessible (sys_release), so there is a table of these; once it is full, addresses are lost,
 * not memory.
 */

#include <errno.h>

#include "heap_core.h"
#include "kept.h"

#define QUARANTINE 64
#define QUARANTINE_BYTES (64 * MIB) /* larger ones go back at once */
#define REFUSED 256
#define LENGTH_BITS 24 /* of a place; the rest is the start, both in pages */

size_t heap_guard;

static _Atomic(uint64_t) quarantine[QUARANTINE];
static atomic_uint quarantine_next;
static _Atomic(uint64_t) refused[REFUSED];

void heap_harden(void)
{
	heap_set_option(HEAP_MMAP_THRESHOLD, 0);
	heap_guard = sys_page_size();
}

char *guard_low(const char *start, char *end)
{
	return end - (kept_room((size_t)(end - start) / heap_guard) + 1) * heap_guard;
}

void guard_protect(char *start, char *end)
{
	char *low = guard_low(start, end);

	sys_protect(low, (size_t)(start - low));
	sys_protect(end, heap_guard);
}

/* The end of as many fresh pages between guards, or NULL. */
static char *map_pages(size_t pages)
{
	size_t room = kept_room(pages);
	char *p = sys_map((room + 2) * heap_guard), *end;

	if (!p)
		return NULL;
	end = p + (room + 1) * heap_guard;
	guard_protect(end - pages * heap_guard, end);
	return end;
}

struct block_meta *guard_map(size_t size, size_t grain)
{
	size_t room = round_up(size, grain);
	size_t pages = round_up(META + room, heap_guard) / heap_guard;
	char *end = kept_take(pages);

	if (!end)
		end = map_pages(pages);
	return end ? heap_make_mapped(end - room - META, room) : NULL;
}

static void put_aside(uint64_t place)
{
	for (size_t i = 0; i < REFUSED; i++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&refused[i], &none, place))
			return;
	}
}

/* 0, or -1: then it is tried again later. errno stays. */
static int release(char *start, size_t size)
{
	size_t page = sys_page_size(), length = size / page;
	int saved_errno = errno, status = sys_unmap(start, size);

	if (status < 0) {
		sys_purge(start, size);
		if (length >> LENGTH_BITS == 0)
			put_aside((uint64_t)((uintptr_t)start / page) << LENGTH_BITS | length);
	}
	errno = saved_errno;
	return status;
}

/* Take what is in a table's place, if anything, and release it. Was it? */
static bool release_place(_Atomic(uint64_t) *from, uint64_t by)
{
	uint64_t place = atomic_exchange(from, by);
	size_t page = sys_page_size(), length = place & (((uint64_t)1 << LENGTH_BITS) - 1);
	uintptr_t start = (uintptr_t)(place >> LENGTH_BITS) * page;

	return place && release((char *)start, length * page) == 0;
}

/* What is between start and end, guards included, is inaccessible from now on. */
static void retire(char *start, char *end)
{
	size_t page = sys_page_size(), size = (size_t)(end - start);
	uint64_t place = (uint64_t)((uintptr_t)start / page) << LENGTH_BITS | size / page;

	if (size > QUARANTINE_BYTES || sys_void(start, size) < 0)
		release(start, size);
	else
		release_place(&quarantine[atomic_fetch_add(&quarantine_next, 1) % QUARANTINE],
			      place);
}

void guard_retire(char *start, char *end)
{
	retire(guard_low(start, end), end + heap_guard);
}

void guard_release(struct block_meta *b)
{
	char *start = round_down_ptr(b, heap_guard), *end = block_end(b);

	if (!kept_put(start, end))
		guard_retire(start, end);
}

bool guard_drain(void)
{
	bool is_any = kept_bytes();

	kept_trim();
	for (size_t i = 0; i < REFUSED; i++)
		is_any |= release_place(&refused[i], 0);
	for (size_t i = 0; i < QUARANTINE; i++)
		is_any |= release_place(&quarantine[i], 0);
	return is_any;
}

/*
 * The pages between start and end have moved, and whoever maps something may have got their place
 * by now: then the guards are all that is left to give back.
 */
static void retire_moved(char *start, char *end)
{
	char *place = sys_reserve(start, (size_t)(end - start)), *low = guard_low(start, end);

	if (place == start) {
		guard_retire(start, end);
		return;
	}
	if (place)
		release(place, (size_t)(end - start));
	release(low, (size_t)(start - low));
	release(end, heap_guard);
}

/* The pages move; the payload's place in the first one stays. */
struct block_meta *guard_remap(struct block_meta *b, size_t size)
{
	char *start = round_down_ptr(b, heap_guard), *end = block_end(b), *to, *end_now, *low;
	size_t offset = (size_t)((char *)(b + 1) - start), now;

	now = round_up(offset + size, heap_guard);
	end_now = map_pages(now / heap_guard);
	if (!end_now)
		return NULL;
	to = end_now - now;
	if (!sys_remap_to(start, (size_t)(end - start), now, to)) {
		low = guard_low(to, end_now);
		release(low, (size_t)(end_now - low) + heap_guard);
		return NULL;
	}
	retire_moved(start, end);
	return heap_make_mapped(to + offset - META, now - offset);
}
