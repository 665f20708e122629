/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The tables of samples: every different stack with its totals, and every live sample by address.
 *
 * 1. Entries are in memory from sys_map that is never returned, in the order in which they were
 *    made. Chains by hash lead through them. The entries are authoritative, the chains derived: a
 *    forked child whose parent had a thread inside rebuilds the chains. So a stack is complete
 *    before it counts as made; the address of a sample is written last and cleared first.
 * 2. sample_may_be reads the head of a chain without a lock. When the heads get too few, their
 *    successors are built elsewhere, and the old ones stay as they were: a thread that still reads
 *    them at worst takes the lock in vain.
 * 3. A signal may come while its thread is inside, and the handler call malloc or free. It must not
 *    wait for itself: table_begin refuses, so its samples are dropped, and table_end_nested ends
 *    the sample of an object that it frees without a lock. The entry leaves its chain later.
 *
 * The lock is below all others of malloc. Sizes are in bytes. Any thread may call.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sample.h"

struct stack {
	struct stack *next; /* in its chain */
	uint64_t hash;
	uint64_t total_objects, total_bytes; /* estimates, in the units of chance_weight */
	uint32_t depth;
	uintptr_t frames[];
};

struct sample {
	_Atomic(uintptr_t) address; /* 0: not live */
	struct sample *next; /* in its chain, or in the list of free entries */
	struct stack *stack;
	size_t size; /* requested */
	size_t stack_size; /* the same when the stack was taken */
	uint64_t live_bytes; /* estimate, in the units of chance_weight */
	uint32_t thread; /* the kernel's id */
};

/* Begin, with the interval of all samples: that of the first call. */
void table_start(size_t interval);
size_t table_interval(void); /* 0 before */

/* Repair the tables in a forked child: rule 1. */
void table_fork_child(void);

/* Enter and leave. False: the thread is inside. table_add and table_remove want it inside. */
bool table_begin(void);
void table_end(void);

/*
 * Make an object a sample. sample has the address, the size and the thread; its stack, or NULL and
 * frames. is_new: it counts in the totals of its stack. False if there is no memory.
 */
bool table_add(const struct sample *sample, const uintptr_t *frames, unsigned int depth,
	       bool is_new);

/* End the sample at p, and copy it to *sample. False if there is none. */
bool table_remove(const void *p, struct sample *sample);

/*
 * The sample at p, which stays there, is resized to size and keeps its stack. It counts in the
 * totals again. False: it is none, or has grown by an interval since its stack was taken.
 */
bool table_resize(const void *p, size_t size);

/* table_remove in a signal handler whose thread is inside: rule 3. */
bool table_remove_nested(const void *p, struct sample *sample);

void table_get_stats(struct sample_stats *stats);

/* A sample that was not taken. */
void table_note_dropped(void);

/* The estimate of all live bytes. */
uint64_t table_live_bytes(void);

/*
 * Copy all stacks, and then all live samples, each as an entry. Figures are in the units of
 * chance_weight. The thread is inside.
 */
struct table_copy {
	struct sample_entry *entries;
	size_t room, count; /* entries that do not fit are counted only */
	size_t stacks; /* the first entries */
};

void table_copy(struct table_copy *copy);
