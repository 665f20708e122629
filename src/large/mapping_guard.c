// SPDX-License-Identifier: BSD-3-Clause

/*
 * Hardened large objects.
 *
 *	place   | guard | body, accessible | guard |
 *
 * 1. An object ends at the end of its body, as near as its alignment allows. The bytes around it in
 *    its first and last page are checked when it is freed or resized.
 * 2. On free, the body is zeroed and moved to another place, and cached like other mappings. So
 *    pages are reused at once, addresses are not. The old place becomes a grave: inaccessible, and
 *    reused when GRAVES_LATE others have been freed. Moving pages costs a tenth of changing their
 *    protection.
 * 3. An object that grows is moved likewise, to a body half as large again. If it has to be copied
 *    into cached pages, it gets more of these, inaccessible until it grows into them.
 * 4. At most GUARDED_MAX objects are guarded, because each costs two kernel mappings. Others,
 *    objects aligned to more than ALIGN_MAX, and those for which the kernel refuses a place are
 *    bare: spans up to SPAN_MAX and SPAN_ALIGN_MAX, else mappings.
 */

#include <errno.h>
#include <string.h>

#include "canary.h"
#include "large_core.h"
#include "tunables.h"
#include "zero.h"

#define LOOK ((size_t)64)
#define ALIGN_MAX (4 * MIB) /* of guarded objects, which use that many addresses more */

static _Atomic(uint64_t) buried; /* number of graves ever made */

static char *end_of(const struct mapping *m)
{
	return m->start + m->bytes;
}

/* An inaccessible range of bytes at place. */
static struct mapping closed(char *place, size_t bytes)
{
	return (struct mapping){.payload = (uintptr_t)place, .start = place, .bytes = bytes};
}

static void release_closed(char *place, size_t bytes)
{
	struct mapping m = closed(place, bytes);

	mapping_release(&m);
}

/* Graves. */

static struct mapping open_grave(struct mapping *grave)
{
	struct mapping m = {0};

	mapping_copy(&m, grave);
	if (m.is_span)
		span_set_cached(m.start, false);
	atomic_store_explicit(&grave->payload, 0, memory_order_release);
	return m;
}

/* Replace the contents of grave by inaccessible m, or nothing. Returns whether it had any. */
static bool replace_grave(struct mapping *grave, const struct mapping *m)
{
	struct mapping old = {0};

	mapping_lock();
	if (grave->payload)
		old = open_grave(grave);
	if (m && m->is_span)
		span_set_cached(m->start, true);
	if (m)
		mapping_copy(grave, m);
	mapping_unlock();
	if (old.payload)
		mapping_release(&old);
	return old.payload;
}

static void bury(const struct mapping *m)
{
	replace_grave(&mapping_all.graves[buried++ % GRAVES], m);
}

bool guard_trim(void)
{
	bool is_any = false;

	for (unsigned int i = 0; i < GRAVES; i++)
		is_any |= replace_grave(&mapping_all.graves[i], NULL);
	return is_any;
}

/* Places. */

/* The best fitting grave of at least bytes and at most twice as many, or NULL. */
static struct mapping *find_grave(size_t bytes)
{
	struct mapping *best = NULL;
	size_t least = 2 * bytes + 1;

	for (uint64_t age = GRAVES_LATE + 1; age <= GRAVES && least > bytes; age++) {
		struct mapping *grave = &mapping_all.graves[(buried - age) % GRAVES];
		size_t has = grave->payload ? mapping_place_bytes(grave) : 0;

		if (has >= bytes && has < least && !grave->is_span) {
			best = grave;
			least = has;
		}
	}
	return best;
}

/* Find an inaccessible place for a body of bytes aligned to align. */
static bool find_place(struct mapping *m, size_t bytes, size_t align)
{
	size_t page = sys_page_size(), most = bytes + (align > page ? align : 0) + 2 * page;
	struct mapping place = {.bytes = most}, *grave;
	char *start, *end;

	mapping_lock();
	grave = find_grave(most);
	if (grave)
		place = open_grave(grave);
	mapping_unlock();
	if (!grave)
		place.start = sys_reserve(NULL, most);
	if (!place.start)
		return false;
	end = mapping_place(&place) + mapping_place_bytes(&place);
	start = end - page - bytes;
	start -= (uintptr_t)start % align;
	*m = (struct mapping){.payload = (uintptr_t)start,
			      .size = bytes,
			      .start = start,
			      .bytes = bytes,
			      .place = mapping_place(&place),
			      .behind = (uint32_t)((size_t)(end - start - bytes) / page),
			      .align_shift = (uint8_t)__builtin_ctzll(align)};
	return true;
}

/*
 * Move the body of from to a new place for bytes. If its size stays, from is still mapped, but
 * empty; otherwise it is unmapped.
 */
static bool move_body(const struct mapping *from, struct mapping *to, size_t bytes, size_t align)
{
	if (!find_place(to, bytes, align))
		return false;
	if (sys_move(from->start, from->bytes, to->start, bytes) == 0)
		return true;
	mapping_release(to);
	return false;
}

/*
 * Bury m, whose body is unmapped. If another thread has mapped memory there, only the rest of the
 * place is ours.
 */
static void bury_hole(const struct mapping *m)
{
	char *p = sys_reserve(m->start, m->bytes);

	if (p == m->start) {
		bury(m);
		return;
	}
	if (p)
		release_closed(p, m->bytes);
	release_closed(m->place, (size_t)(m->start - m->place));
	release_closed(end_of(m), m->behind * sys_page_size());
}

/* Allocation. */

/* Body bytes for room. Up to ROOMY_MAX there are few sizes, so that more bodies can be reused. */
static size_t body_for(size_t room)
{
	size_t page = sys_page_size(), bytes = round_up(room ? room : 1, page);

	if (bytes <= ROOMY_MAX)
		bytes = round_up(span_pages_for(bytes) * PAGE_BYTES, page);
	return bytes;
}

/*
 * Split the first bytes of a cached body off as m. The rest is cached again; it may have never been
 * written to.
 */
static bool split(struct mapping *cached, struct mapping *m, size_t bytes, size_t align)
{
	struct mapping head = *cached;

	head.bytes = bytes;
	if (!move_body(&head, m, bytes, align))
		return false;
	cached->start += bytes;
	cached->payload = (uintptr_t)cached->start;
	cached->size = cached->bytes -= bytes;
	if (sys_protect(head.start, bytes) == 0)
		cache_put(cached);
	else
		mapping_release(cached);
	return true;
}

/* Protect all but the first bytes of m's body; the rest, which is zero, is spare. */
static void hide(struct mapping *m, size_t bytes)
{
	size_t rest = m->bytes - bytes;

	if (sys_protect(m->start + bytes, rest) < 0)
		return;
	m->bytes = bytes;
	m->spare = rest;
	m->behind += (uint32_t)(rest / sys_page_size());
}

/* Extend the body of m by bytes of its spare memory. */
static bool use_spare(struct mapping *m, size_t bytes)
{
	if (bytes && sys_unprotect(end_of(m), bytes) < 0)
		return false;
	m->bytes += bytes;
	m->spare -= bytes;
	m->behind -= (uint32_t)(bytes / sys_page_size());
	return true;
}

/* A growing object gets up to SPARE_MAX times its bytes, and is not copied again within these. */
static bool take_growing(struct mapping *cached, struct mapping *m, size_t bytes)
{
	if (cached->bytes <= SPARE_MAX * bytes)
		*m = *cached;
	else if (!split(cached, m, SPARE_MAX * bytes, sys_page_size()))
		return false;
	hide(m, bytes);
	return true;
}

/* Take a cached body, resized if necessary. */
static bool take_cached(struct mapping *m, size_t bytes, size_t align, bool grows)
{
	struct mapping cached = {.is_span = false};

	if (!cache_take(&cached, bytes, false))
		return false;
	if (grows && cached.bytes > bytes && take_growing(&cached, m, bytes))
		return true;
	if (cached.bytes == bytes ||
	    (align <= sys_page_size() && cache_is_fit(cached.bytes, bytes))) {
		*m = cached;
		m->align_shift = (uint8_t)__builtin_ctzll(align);
		if ((uintptr_t)m->start % align == 0)
			return true;
	}
	if (cached.bytes > bytes && split(&cached, m, bytes, align))
		return true;
	if (cached.bytes != bytes && move_body(&cached, m, bytes, align)) {
		bury_hole(&cached);
		return true;
	}
	mapping_release(&cached);
	return false;
}

static bool get_guarded(struct mapping *m, size_t room, size_t align, bool grows, bool *is_mapped)
{
	size_t bytes = body_for(room);

	if (take_cached(m, bytes, align, grows))
		return true;
	if (!find_place(m, bytes, align))
		return false;
	*is_mapped = sys_unprotect(m->start, bytes) == 0;
	if (!*is_mapped)
		mapping_release(m);
	return *is_mapped;
}

/* Bare objects: spans read as zero in hardened mode. */
static bool get_bare(struct mapping *m, size_t room, size_t align, bool *is_mapped)
{
	size_t page = sys_page_size(), bytes = round_up(room ? room : 1, page);
	bool is_full = !(round_up(room, align) % page), fresh;
	size_t more = bytes + is_full * page; /* a page of its own precedes the payload */
	char *p = NULL;

	if (more <= SPAN_MAX && align <= SPAN_ALIGN_MAX)
		p = span_alloc(more, align, &fresh);
	if (p) {
		*m = closed(p, span_size(p));
		m->is_span = true;
		if (!fresh && !is_zero(p, m->bytes))
			sys_fatal("malloc", p, "this free block was written to");
		return true;
	}
	p = sys_map_aligned(bytes, align);
	*m = closed(p, bytes);
	*is_mapped = p;
	return p;
}

/* Set the size of m and write the pattern behind it. */
static void set_size(struct mapping *m, size_t size)
{
	char *end = mapping_payload(m) + size;

	m->size = size;
	put_pattern(end, (size_t)(end_of(m) - end));
}

bool guard_make(struct mapping *m, size_t size, size_t room, size_t align, bool *is_mapped)
{
	size_t page = sys_page_size(), body_align = align > page ? align : page;

	if (mapping_all.guarded >= GUARDED_MAX || align > ALIGN_MAX ||
	    !get_guarded(m, room, body_align, room > size, is_mapped))
		if (!get_bare(m, room, body_align, is_mapped))
			return false;
	m->payload = (uintptr_t)m->start;
	if (align <= page)
		m->payload = ((uintptr_t)end_of(m) - room) & ~(uintptr_t)(align - 1);
	m->asked = size;
	set_size(m, size);
	return true;
}

/* Validation: rule 1. */

/* Checks at most a page before the payload. */
static void require_intact(const char *call, const struct mapping *m)
{
	const char *p = mapping_payload(m), *start = m->start;
	const char *end = p + m->size;
	size_t page = sys_page_size();

	if ((size_t)(p - start) > page)
		start = p - page;
	if (!is_zero(start, (size_t)(p - start)))
		sys_fatal(call, p, "memory before this block is overwritten");
	if (!has_pattern(end, (size_t)(end_of(m) - end)))
		sys_fatal(call, p, "memory behind this block of %lu bytes is overwritten",
			  (unsigned long)m->size);
}

/* Freeing: rule 2. */

/*
 * Zero the body of m without touching pages that were never written. Writes are likely at the
 * payload's offset in a page, so that place is checked before the rest.
 */
static void clear_body(const struct mapping *m)
{
	size_t page = sys_page_size(), likely = m->payload % page & ~(LOOK - 1);
	char *from = m->start, *p = from; /* [from, p) has been written to */

	for (; p < end_of(m); p += page) {
		if (!is_zero(p + likely, LOOK))
			continue;
		if (from < p)
			memset(from, 0, (size_t)(p - from));
		if (!is_zero(p, page))
			memset(p, 0, page);
		from = p + page;
	}
	memset(from, 0, (size_t)(p - from));
}

/* Zero the body of m and move it to another place, to. False: it has to be unmapped. */
static bool rescue_body(struct mapping *m, struct mapping *to)
{
	if (!mapping_is_guarded(m) || m->bytes + m->spare > BURIED_MIN)
		return false;
	clear_body(m);
	use_spare(m, m->spare);
	return move_body(m, to, m->bytes, (size_t)1 << m->align_shift);
}

/* Make m inaccessible. False if the kernel has no memory for it. */
static bool make_inaccessible(const struct mapping *m, bool is_empty)
{
	if (m->is_span && (m->bytes <= ROOMY_MAX || sys_purge(m->start, m->bytes) < 0))
		clear_body(m);
	if ((m->is_span || is_empty) && sys_protect(m->start, m->bytes) == 0)
		return true;
	return !m->is_span && sys_discard(mapping_place(m), mapping_place_bytes(m)) == 0;
}

void guard_free(const char *call, const struct mapping *freed)
{
	struct mapping m = *freed, to;
	bool is_moved;

	require_intact(call, &m);
	is_moved = rescue_body(&m, &to);
	if (make_inaccessible(&m, is_moved))
		bury(&m);
	else
		mapping_release(&m);
	if (is_moved)
		cache_put(&to);
}

/* Resizing: rule 3. */

/* Prefers a copy into cached pages, because new pages cost a fault each. */
static bool grow(struct mapping *m, size_t size)
{
	size_t offset = (size_t)(mapping_payload(m) - m->start), page = sys_page_size();
	size_t least = round_up(offset + size, page);
	size_t bytes = (offset + size + size / 2) & ~(page - 1);
	size_t most = m->bytes + m->spare;
	struct mapping to;

	if (bytes < least) /* where pages are large */
		bytes = least;
	if (offset + size <= most)
		return use_spare(m, (bytes < most ? bytes : most) - m->bytes);
	if (!mapping_is_guarded(m) || cache_has(bytes) || !use_spare(m, m->spare) ||
	    !move_body(m, &to, bytes, page))
		return false;
	to.payload = (uintptr_t)to.start + offset;
	bury_hole(m);
	*m = to;
	return true;
}

bool guard_resize(const char *call, struct mapping *m, size_t size)
{
	size_t room = (size_t)(end_of(m) - mapping_payload(m));

	require_intact(call, m);
	if (size < m->size / 2 || (size > room && !grow(m, size)))
		return false;
	set_size(m, size);
	return true;
}
