// SPDX-License-Identifier: BSD-3-Clause

/* Hardened large objects: rule 3 of mapping.c. */

#include <string.h>

#include "mapping_core.h"
#include "zero.h"

#define PATTERN 0xa5 /* behind an object, to its guard */
#define PATTERN_MAX ((size_t)64) /* bytes of it: an overflow meets the first */

void mapping_harden(void)
{
	mapping_all.is_hardened = true;
}

size_t guard_bytes(const struct mapping *m)
{
	if (!m->is_guarded)
		return 0;
	return m->is_span ? sys_page_size() : 2 * sys_page_size();
}

char *guard_end(const struct mapping *m)
{
	return m->start + m->bytes - (m->is_guarded ? sys_page_size() : 0);
}

char *guard_start(const struct mapping *m)
{
	return m->start + (m->is_guarded && !m->is_span ? sys_page_size() : 0);
}

void guard_set_size(struct mapping *m, size_t size)
{
	size_t behind = (size_t)(guard_end(m) - mapping_payload(m)) - size;

	m->size = size;
	memset(mapping_payload(m) + size, PATTERN, behind < PATTERN_MAX ? behind : PATTERN_MAX);
}

void guard_place(struct mapping *m, size_t size, size_t room, size_t align)
{
	size_t page = sys_page_size();

	m->size = m->bytes;
	m->payload = (uintptr_t)m->start;
	if (!mapping_all.is_hardened)
		return;
	if (m->is_guarded) {
		sys_protect(guard_end(m), page);
		if (!m->is_span)
			sys_protect(m->start, page);
	}
	if (align <= page)
		m->payload = ((uintptr_t)guard_end(m) - room) & ~(uintptr_t)(align - 1);
	guard_set_size(m, size);
}

static bool is_filled(const char *from, const char *to, unsigned char with)
{
	while (from < to)
		if ((unsigned char)*from++ != with)
			return false;
	return true;
}

/* Of what is before the payload, its own page is looked at. */
void guard_require_intact(const char *call, const struct mapping *m)
{
	const char *start = guard_start(m), *end = mapping_payload(m) + m->size, *to = guard_end(m);
	size_t page = sys_page_size();

	if (!mapping_all.is_hardened)
		return;
	if ((size_t)(to - end) > PATTERN_MAX)
		to = end + PATTERN_MAX;
	if ((size_t)(mapping_payload(m) - start) > page)
		start = mapping_payload(m) - page;
	if (!is_filled(start, mapping_payload(m), 0))
		sys_fatal(call, mapping_payload(m), "memory before this block is overwritten");
	if (!is_filled(end, to, PATTERN))
		sys_fatal(call, mapping_payload(m),
			  "memory behind this block of %lu bytes is overwritten",
			  (unsigned long)m->size);
}

/* What was never written to gets no memory by it. */
static void clear(char *p, size_t bytes)
{
	size_t page = sys_page_size();

	for (size_t at = 0; at < bytes; at += page)
		if (!is_zero(p + at, page))
			memset(p + at, 0, page);
}

/* A large one is purged: that is quicker than zeroing. */
bool guard_seal_off(const struct mapping *m)
{
	char *start = guard_start(m);
	size_t bytes = (size_t)(guard_end(m) - start);

	if (bytes < PURGED_MIN || m->is_span || sys_purge(start, bytes) < 0)
		clear(start, bytes);
	return sys_protect(m->start, m->bytes) == 0;
}
