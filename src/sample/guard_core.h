/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Core header of guarded blocks.
 *
 *	| guard | slot 0 | guard | slot 1 | guard | …
 *
 * A slot has room for the largest guarded block. Only the pages of a live block are accessible; it
 * begins with the first of them, or ends with the last, at an edge of the slot.
 */

#pragma once

#include <stdatomic.h>

#include "guard.h"
#include "helpers.h"
#include "tunables.h"

enum guard_state {
	SLOT_UNUSED,
	SLOT_BUSY, /* a thread is making or freeing the block */
	SLOT_LIVE,
	SLOT_FREED,
};

struct guard_call {
	uint32_t thread, count;
	uintptr_t frames[GUARD_FRAMES];
};

/* A block that has shrunk keeps its pages. Atomic, because walks read it while it changes. */
struct guard_block {
	_Atomic(uintptr_t) start;
	_Atomic(size_t) size, align;
	_Atomic(uintptr_t) pages; /* the first accessible byte while it is live */
	_Atomic(size_t) pages_size;
};

#define GUARD_STATE_BITS 2

struct guard_slot {
	_Atomic(uint32_t) state; /* enum guard_state; above it, the number of its changes */
	atomic_flag is_reported; /* a fault in this block */
	bool is_open; /* the kernel refused to close the freed block */
	struct guard_block block;
	struct guard_call alloc, free;
};

#define GUARD_TAKEN UINT64_MAX
#define GUARD_STACK (32 * KIB) /* of reports: the interrupted one may be full */

struct guard {
	/*
	 * G3: GUARD_TAKEN, or the value of frees when the block was freed. No lock is taken: a fork
	 * may happen at any time. A slot that another thread is changing is lost to the child.
	 */
	_Atomic(uint64_t) queue[GUARD_SLOTS];
	_Atomic(uint64_t) frees, allocs;
	struct guard_slot slots[GUARD_SLOTS];
	unsigned char pattern;
	/* One thread at a time reports, or changes the action of SIGSEGV, with signals blocked. */
	_Atomic(uint32_t) lock;
	_Atomic(uint32_t) process; /* a child of vfork has another id and shares this memory */
	atomic_bool is_reporting; /* slots keep their contents meanwhile */
	struct guard_slot *misused; /* what a fatal report of this thread is about */
	uint32_t misused_by;
	uint64_t misused_mask; /* for guard_unlock */
	char stack[GUARD_STACK] __attribute__((aligned(16)));
};

/* ---- guard_slots.c ---- */

extern struct guard *guard __attribute__((visibility("hidden")));

/* Lock, and block signals. Returns the mask for guard_unlock. */
uint64_t guard_lock(void);
void guard_unlock(uint64_t mask);

/* Bytes of a slot: whole pages, which may be larger than a block. */
static inline size_t guard_slot_size(void)
{
	return round_up(GUARD_BLOCK_MAX, sys_page_size());
}

/* The first byte of slot i. */
uintptr_t guard_slot_start(size_t i);

static inline enum guard_state guard_state_in(uint32_t state)
{
	return (enum guard_state)(state & ((1 << GUARD_STATE_BITS) - 1));
}

static inline enum guard_state guard_state_of(const struct guard_slot *s)
{
	return guard_state_in(s->state);
}

void guard_set_block(struct guard_block *to, const struct guard_block *from);

/* Copy the block in s. Returns the state; SLOT_BUSY: it has just changed. */
enum guard_state guard_copy_block(const struct guard_slot *s, struct guard_block *block);

/* The slot of an address in the area; an address in a guard belongs to the slot before it. */
size_t guard_slot_index(uintptr_t address);

/* Note the caller's thread and stack. */
void guard_note_call(struct guard_call *c);

/* ---- guard_report.c ---- */

/* Let fatal reports about slots print stacks. */
void guard_report_begin(void);

/* Report the fault at address, once for each block. context is that of the handler. */
void guard_report_fault(uintptr_t address, void *context);

/* Report a call with p, which is not a live block, or not as the call says: sys_misuse. */
void guard_bad_pointer(const char *call, const void *p) __attribute__((cold));
void guard_bad_size(const char *call, struct guard_slot *s, size_t size) __attribute__((cold));
void guard_bad_align(const char *call, struct guard_slot *s, size_t align) __attribute__((cold));

/* Report damage: the at-th byte before or behind a block is overwritten. */
void guard_damaged(const char *call, struct guard_slot *s, size_t at, const char *side)
	__attribute__((noreturn, cold));

/* ---- guard_signal.c ---- */

/* Install the handler in front of the current action. */
void guard_signal_begin(void);
