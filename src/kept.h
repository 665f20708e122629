/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The pages of freed blocks between guards (guard.c), kept for the next block of their size: page
 * faults and system calls cost many times what it takes to zero them and to look through them.
 *
 * They are zero while they are here, and must still be when they leave. What comes takes a random
 * place among those of its size class that wait, and what was there is ready for use; it is seldom
 * the last one that came, and never at once. No lock is taken, and a place is one word: whole at
 * every moment, for a fork.
 *
 * Sizes are in bytes; pages are the system's.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEPT_MAX ((size_t)8 << 20) /* of one block: more is not kept */
#define KEPT_CLASS_BITS 2 /* four size classes from one power of two to the next */

/*
 * As many pages as the address space of a block with pages of them has, for each of its class to
 * fit; a block is at its end. Less than a part in 2^KEPT_CLASS_BITS more than pages.
 */
size_t kept_room(size_t pages);

/* Keep what is from start to end, made zero. False: not kept, and as it was. errno stays. */
bool kept_put(char *start, char *end);

/*
 * The end of as many pages, zero, between inaccessible ones; NULL: none is ready. errno stays. What
 * was written to is a fatal report.
 */
char *kept_take(size_t pages);

extern _Atomic(size_t)
	kept_total; /* of all places, and of what is on its way there or from there */

/* What is here altogether; inlined, so that without guards no page of kept.c is in memory. */
static inline size_t kept_bytes(void)
{
	return atomic_load_explicit(&kept_total, memory_order_relaxed);
}

/* What has been here for a whole period goes to guard_retire, if one has passed. */
void kept_sweep(uint64_t period_ms);

/* All goes there. */
void kept_trim(void);

/* Forget what was on its way in threads that the calling process, a fork's child, has not got. */
void kept_fork_child(void);

/*
 * Check, while nobody allocates: NULL, or the text of what does not hold.
 *	K1 what is kept is of the class that it is kept for, and zero
 *	K2 kept_bytes is right
 */
const char *kept_check(void);
