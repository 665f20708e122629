// SPDX-License-Identifier: BSD-3-Clause

/*
 * The program break, and what replaces it.
 *
 * 1. libc's sbrk moves the break, because libc caches it.
 * 2. If the first raise is refused, a mapping replaces the break for good. It has the properties
 *    that the placement rules need: it begins above the break, each raise continues where the one
 *    before ended, to the byte, and it may grow as far as the addresses above it are free. So it is
 *    with musl, whose sbrk never moves the break, and where a system call filter refuses brk.
 * 3. If other code has mapped something there, a raise begins a new mapping above that, as it does
 *    when other code has moved the break.
 *
 * Callers hold the lock of sbrk.
 */

#include <errno.h>

#include "block_core.h"
#include "tunables.h"

static bool is_libcs; /* sbrk has moved the break */

/* The mapping that replaces it: bytes from end on are for the next raise. */
static struct {
	char *end, *mapped_end;
} own;

char *block_break(void)
{
	return own.end ? own.end : sys_break();
}

/* Map size bytes more. The kernel merges adjacent mappings. */
static bool extend(size_t size)
{
	if (!own.end || !sys_map_at(own.mapped_end, size))
		return false;
	own.mapped_end += size;
	return true;
}

static bool begin_at(uintptr_t at, size_t size)
{
	if (!sys_map_at((void *)at, size))
		return false;
	own.end = (char *)at;
	own.mapped_end = own.end + size;
	return true;
}

/* Rule 3, and the first mapping. Each try is twice as far above from. */
static bool begin_above(uintptr_t from, size_t size)
{
	struct sys_room stack = sys_stack_room();

	for (size_t gap = BREAK_GAP; gap < SYS_MAP_MAX - from - size; gap *= 2) {
		uintptr_t at = from + gap;

		if (at < stack.end && at + size > stack.start)
			continue;
		if (begin_at(at, size))
			return true;
		if (errno != EEXIST)
			return false;
	}
	return false;
}

static bool make_room(size_t size)
{
	size_t page = sys_page_size(), rest = (size_t)(own.mapped_end - own.end);

	if (size <= rest || extend(round_up(size - rest, page)))
		return true;
	if (own.end && errno != EEXIST)
		return false;
	return begin_above(round_up((uintptr_t)block_break(), page), round_up(size, page));
}

static char *raise_own(size_t size)
{
	char *p;

	if (size > SYS_MAP_MAX / 2 || !make_room(size)) {
		errno = ENOMEM;
		return NULL;
	}
	p = own.end;
	own.end += size;
	return p;
}

char *block_raise_break(size_t size)
{
	char *p = own.end ? NULL : sys_raise_break(size);

	is_libcs |= p != NULL;
	return p || is_libcs ? p : raise_own(size);
}
