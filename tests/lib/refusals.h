/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The kernel refuses. For tests that are linked with the objects and -Wl,--wrap for sbrk and
 * kernel_call, the way of all other system calls. Five are those through which memory comes and
 * goes, two change or tell its state: a plan says which of them fail, and what came and went is
 * counted. A mapping that is wanted at one place finds it taken now and then, plan or no plan: that
 * is no failure.
 *
 *	refuse(3, 3);                   the third call from now on fails
 *	refuse(1, SIZE_MAX);            all calls fail
 *	refuse_at_random(10, seed);     one in a hundred fails
 *	refuse_nothing();
 *
 * Calls may come from any thread. A plan is made while no other thread allocates.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum refusable {
	REFUSE_SBRK = 1,
	REFUSE_MMAP = 2,
	REFUSE_MUNMAP = 4,
	REFUSE_MREMAP = 8,
	REFUSE_MADVISE = 16,
	REFUSE_MPROTECT = 32,
	REFUSE_MINCORE = 64,
	REFUSE_ANY = 127, /* of these: memory */
	REFUSE_OPEN = 128,
};

struct kernel {
	size_t first, last; /* calls of these numbers fail, from 1 on */
	size_t per_mille; /* and as many of all others, at random */
	unsigned int kinds; /* only calls of these kinds count */
	size_t least; /* and no mappings of fewer bytes */
	_Atomic(uint64_t) random;
	_Atomic(size_t) calls, failures; /* since the plan was made */
	_Atomic(size_t) mapped; /* bytes, whole pages */
	_Atomic(size_t) raised; /* bytes that the break went up */
	_Atomic(size_t) places_taken;
	ssize_t (*write)(int fd, const void *text, size_t len); /* if not NULL, what writes */
	void (*before)(void); /* called before each call; it may make another plan */
};

extern struct kernel kernel;

void refuse(size_t first, size_t last);
void refuse_at_random(size_t per_mille, uint64_t seed);
void refuse_nothing(void);

/* From here on calls of other kinds are not counted and do not fail. */
void refuse_only(unsigned int kinds);

/* Both heaps, the store, magazines and caches are sound. Other threads may not allocate. */
void check_all(void);

/* A call has just returned NULL. */
void expect_refusal(bool may_fail);

/* Note what is live and mapped now, as nobody's fault. */
void note_live(void);

/*
 * Since note_live everything was freed: after a trim, what the kernel gave and has not got back is
 * what regions, tables, and segments need, to the page; and of those there are no more than then.
 */
void check_nothing_lost(void);
