/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Guarded blocks: a few of malloc's blocks have pages of their own between inaccessible ones, so
 * that the processor finds accesses outside of them and, once they are freed, any access. A fault
 * is reported before the program's own handler, or the default action, runs as usual.
 *
 * Sizes and alignments are in bytes; alignments are powers of two. Any thread may call any function
 * at any time. Before guard_begin nothing is guarded. call is the public function that a misuse
 * report names; misuse is fatal unless it is tolerated (sys_misuse). guard_release preserves errno.
 */

#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "item_list.h"

/* The addresses of all slots, with their guards; empty before guard_begin. */
extern struct guard_area {
	uintptr_t start;
	size_t size;
} guard_area __attribute__((visibility("hidden")));

/*
 * Prepare the slots, and the handler of SIGSEGV. Idempotent. False with errno ENOMEM. Stacks are
 * in reports if stack_begin has been called.
 */
bool guard_begin(void);

/*
 * A guarded block of size bytes, all zero, aligned to align and to 16. NULL, and errno may have
 * changed: all slots are in use, the block is too large, or the kernel refuses. Then the caller
 * makes a block as usual.
 */
void *guard_alloc(size_t size, size_t align);

/* Whether p is in a slot or at a guard. The functions below are for such a p only. */
static inline bool guard_owns(const void *p)
{
	return (uintptr_t)p - guard_area.start < guard_area.size;
}

/* Free p, or report it. */
void guard_release(const char *call, void *p);

/* Whether p is a live block; otherwise it was reported. */
bool guard_is_block(const char *call, void *p);

/* The size with which p was allocated or resized. 0 for a p that was reported. */
size_t guard_usable_size(const char *call, void *p);

/*
 * Let p shrink to size in place. False: p is smaller than that, and the caller has to move it, or p
 * was reported.
 */
bool guard_shrink(const char *call, void *p, size_t size);

/* Report p, and return false, if it was not allocated with this size, or this alignment. */
bool guard_check_size(const char *call, void *p, size_t size);
bool guard_check_align(const char *call, void *p, size_t align);

/* Append the live blocks to list. */
void guard_list(struct item_list *list);

/* Call visit for all slots, and for the memory that has the addresses of blocks in them. */
void guard_each_range(void (*visit)(const void *start, size_t size, void *arg), void *arg);

struct guard_stats {
	size_t blocks, bytes; /* live ones, and their pages */
};

void guard_get_stats(struct guard_stats *stats);

/*
 * Verify G1 to G3. Returns NULL, or a text on the first violation. Other threads must not allocate
 * or free meanwhile.
 *	G1 the pages of a live block begin or end at an edge of its slot, and hold the block
 *	G2 the rest of its pages has the pattern
 *	G3 a slot waits in the queue if and only if it has no live block
 */
const char *guard_check(void);

/* ---- guard_signal.c: for the C library's names ---- */

/*
 * sigaction(2) of SIGSEGV as if the library had no handler. The handler stays in front of the
 * program's, unless the program ignores the signal.
 */
int guard_sigaction(const struct sigaction *set, struct sigaction *old);

/* The same for signal(2). */
sighandler_t guard_signal(sighandler_t handler);
