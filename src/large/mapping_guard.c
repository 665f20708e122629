// SPDX-License-Identifier: BSD-3-Clause

/*
 * Hardened large objects.
 *
 *	place   | guard | body, accessible | guard |
 *
 * 1. An object ends where its body does, as near as its alignment lets it. The bytes around it in
 *    its first and last page are looked at when it is freed or resized.
 * 2. When it is freed its body is zeroed, and moves to another place, where it is kept for the next
 *    object as mapping_kept.c has it. So pages are used again at once, but addresses are not: what
 *    stays is a grave, inaccessible, whose place is used again when GRAVES_LATE others have been
 *    freed. To move pages costs a tenth of changing what may be done with them.
 * 3. One that grows moves in the same way, to a body with half as much again. If it has to be
 *    copied into kept pages, it gets more of them, inaccessible until it grows into them.
 * 4. The number of guarded objects is bounded, for each costs two of the process's mappings.
 *    Others, and those aligned to more than a page, are bare: spans, or mappings above SPAN_MAX.
 */

#include <errno.h>
#include <string.h>

#include "mapping_core.h"
#include "slab/span.h"
#include "trailer.h"
#include "tunables.h"
#include "zero.h"

#define LOOK ((size_t)64)
#define ALIGN_MAX (4 * MIB) /* of guarded ones, which take as many addresses more */

struct trailer_key trailer_key; /* hardened.c writes it: this is the lowest layer that reads it */
static _Atomic(uint64_t) buried; /* how many graves there were */

static char *end_of(const struct mapping *m)
{
	return m->start + m->bytes;
}

/* bytes of addresses at which nothing is accessible. */
static struct mapping closed(char *place, size_t bytes)
{
	return (struct mapping){.payload = (uintptr_t)place, .start = place, .bytes = bytes};
}

static void release_closed(char *place, size_t bytes)
{
	struct mapping m = closed(place, bytes);

	kept_release(&m);
}

/* Graves. */

static struct mapping open_grave(struct mapping *grave)
{
	struct mapping m = {0};

	mapping_copy(&m, grave);
	if (m.is_span)
		span_set_kept(m.start, false);
	atomic_store_explicit(&grave->payload, 0, memory_order_release);
	return m;
}

/* m, which is inaccessible, or NULL, replaces what is in grave; whether that was anything. */
static bool replace_grave(struct mapping *grave, const struct mapping *m)
{
	struct mapping old = {0};

	mapping_lock();
	if (grave->payload)
		old = open_grave(grave);
	if (m && m->is_span)
		span_set_kept(m->start, true);
	if (m)
		mapping_copy(grave, m);
	mapping_unlock();
	if (old.payload)
		kept_release(&old);
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

/* The grave whose place is the smallest that has bytes, and not many more; or NULL. */
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

/* A place for a body of bytes aligned to align; nothing is accessible there yet. */
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
 * The body of from moves to a place for that many bytes. If it has as many, it is there still, but
 * empty; if not, nothing is mapped there any more.
 */
static bool move_body(const struct mapping *from, struct mapping *to, size_t bytes, size_t align)
{
	if (!find_place(to, bytes, align))
		return false;
	if (sys_move(from->start, from->bytes, to->start, bytes) == 0)
		return true;
	kept_release(to);
	return false;
}

/*
 * Nothing is mapped where the body of m was. Should another thread have mapped something there
 * meanwhile, only what is around it is ours.
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

/* Making one. */

/* The pages of a body for room bytes: up to ROOMY_MAX of few sizes, for more to fit. */
static size_t body_for(size_t room)
{
	size_t page = sys_page_size(), bytes = mapping_round_up(room ? room : 1, page);

	if (bytes <= ROOMY_MAX)
		bytes = mapping_round_up(span_pages_for(bytes) * PAGE_BYTES, page);
	return bytes;
}

/*
 * The first bytes of a kept body become one of their own: m. The rest stays kept; the end of what
 * has grown may never have been written to.
 */
static bool split(struct mapping *kept, struct mapping *m, size_t bytes, size_t align)
{
	struct mapping head = *kept;

	head.bytes = bytes;
	if (!move_body(&head, m, bytes, align))
		return false;
	kept->start += bytes;
	kept->payload = (uintptr_t)kept->start;
	kept->size = kept->bytes -= bytes;
	if (sys_protect(head.start, bytes) == 0)
		kept_keep(kept);
	else
		kept_release(kept);
	return true;
}

/* Of the body of m only bytes are accessible from now on; the rest, which is zero, is spare. */
static void hide(struct mapping *m, size_t bytes)
{
	size_t rest = m->bytes - bytes;

	if (sys_protect(m->start + bytes, rest) < 0)
		return;
	m->bytes = bytes;
	m->spare = rest;
	m->behind += (uint32_t)(rest / sys_page_size());
}

/* The first bytes of what m has to spare belong to its body. */
static bool use_spare(struct mapping *m, size_t bytes)
{
	if (bytes && sys_unprotect(end_of(m), bytes) < 0)
		return false;
	m->bytes += bytes;
	m->spare -= bytes;
	m->behind -= (uint32_t)(bytes / sys_page_size());
	return true;
}

/* What grows has up to SPARE_MAX times as much in the end, and is not copied on the way there. */
static bool take_growing(struct mapping *kept, struct mapping *m, size_t bytes)
{
	if (kept->bytes <= SPARE_MAX * bytes)
		*m = *kept;
	else if (!split(kept, m, SPARE_MAX * bytes, sys_page_size()))
		return false;
	hide(m, bytes);
	return true;
}

/* What is kept of another size is made to fit, with the pages that it has. */
static bool take_kept(struct mapping *m, size_t bytes, size_t align, bool grows)
{
	struct mapping kept = {.is_span = false};

	if (!kept_take(&kept, bytes, false))
		return false;
	if (grows && kept.bytes > bytes && take_growing(&kept, m, bytes))
		return true;
	if (kept.bytes == bytes || (align <= sys_page_size() && kept_is_fit(kept.bytes, bytes))) {
		*m = kept;
		m->align_shift = (uint8_t)__builtin_ctzll(align);
		if ((uintptr_t)m->start % align == 0)
			return true;
	}
	if (kept.bytes > bytes && split(&kept, m, bytes, align))
		return true;
	if (kept.bytes != bytes && move_body(&kept, m, bytes, align)) {
		bury_hole(&kept);
		return true;
	}
	kept_release(&kept);
	return false;
}

static bool get_guarded(struct mapping *m, size_t room, size_t align, bool grows, bool *is_mapped)
{
	size_t bytes = body_for(room);

	if (take_kept(m, bytes, align, grows))
		return true;
	if (!find_place(m, bytes, align))
		return false;
	*is_mapped = sys_unprotect(m->start, bytes) == 0;
	if (!*is_mapped)
		kept_release(m);
	return *is_mapped;
}

/* All pages of the page heap read as zero. */
static bool get_bare(struct mapping *m, size_t room, size_t align, bool *is_mapped)
{
	size_t page = sys_page_size(), bytes = mapping_round_up(room ? room : 1, page);
	bool is_full = !(mapping_round_up(room, align) % page), fresh;
	size_t more = bytes + is_full * page; /* something of its own is before the payload */
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
	p = mapping_map(bytes, align);
	*m = closed(p, bytes);
	*is_mapped = p;
	return p;
}

/* m has size bytes: what is behind them is not the user's. */
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

/* Looking at one: rule 1. */

/* Of what is before the payload, its own page is looked at. */
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

/* Freeing one: rule 2. */

/*
 * What was never written to gets no memory by it. Much is written at multiples of a page from the
 * payload: of most pages a look there is enough, and memory is slow.
 */
static void clear_body(const struct mapping *m)
{
	size_t page = sys_page_size(), likely = m->payload % page & ~(LOOK - 1);
	char *from = m->start, *p = from; /* what is between has been written to */

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

/* The body of m, zeroed, moves to another place: to. False: it has to go back to the kernel. */
static bool rescue_body(struct mapping *m, struct mapping *to)
{
	if (!mapping_is_guarded(m) || m->bytes + m->spare > BURIED_MIN)
		return false;
	clear_body(m);
	use_spare(m, m->spare);
	return move_body(m, to, m->bytes, (size_t)1 << m->align_shift);
}

/* Nothing of m can be touched from now on. False: the kernel has no room to note it. */
static bool seal_off(const struct mapping *m, bool is_empty)
{
	if (m->is_span && (m->bytes <= ROOMY_MAX || sys_purge(m->start, m->bytes) < 0))
		clear_body(m);
	if ((m->is_span || is_empty) && sys_protect(m->start, m->bytes) == 0)
		return true;
	return !m->is_span && sys_bury(mapping_place(m), mapping_place_bytes(m)) == 0;
}

void guard_free(const char *call, const struct mapping *freed)
{
	struct mapping m = *freed, to;
	bool is_moved;

	require_intact(call, &m);
	is_moved = rescue_body(&m, &to);
	if (seal_off(&m, is_moved))
		bury(&m);
	else
		kept_release(&m);
	if (is_moved)
		kept_keep(&to);
}

/* Resizing one: rule 3. */

/* Pages that are kept are worth a copy: what is new costs a page fault for each. */
static bool grow(struct mapping *m, size_t size)
{
	size_t offset = (size_t)(mapping_payload(m) - m->start), page = sys_page_size();
	size_t bytes = (offset + size + size / 2 + page - 1) & ~(page - 1);
	size_t most = m->bytes + m->spare;
	struct mapping to;

	if (offset + size <= most)
		return use_spare(m, (bytes < most ? bytes : most) - m->bytes);
	if (!mapping_is_guarded(m) || kept_has(bytes) || !use_spare(m, m->spare) ||
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
