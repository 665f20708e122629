// SPDX-License-Identifier: BSD-3-Clause

/*
 * Steps from frame to frame.
 *
 * 1. Where there is call frame information, a step follows it. A table keeps the rules of return
 *    addresses that were met before, because reading the information takes several times as long.
 *    An entry belongs to an object, so it does not outlive dlclose.
 * 2. Elsewhere rbp may be a frame pointer: of code that was generated at run time, or compiled
 *    without the information. It has to lie above rsp, near it and aligned. The address that it
 *    leads to is a guess. It counts if there is a call before it, or if the next step succeeds.
 * 3. Each word is read only if its page can be read: a register may be wrong after a guess, and the
 *    information may be wrong in code that never throws. Only the kernel knows which pages can be
 *    read. Its answers for a thread's stack are kept, so few walks make a system call. Those for a
 *    coroutine's are not: the program may unmap it, and use its addresses for a smaller stack.
 * 4. No lock, no memory, less than a KiB of stack. Two threads, or a signal handler, may write an
 *    entry of a table at once: its key depends on its value, so that a mixture fits nothing.
 */

#include "unwind.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <ucontext.h>

#include "cfi.h"
#include "compat.h"
#include "hash.h"
#include "helpers.h"
#include "lock.h"
#include "tunables.h"

#define PAGE ((uintptr_t)4096)
#define PAGE_SHIFT 12
#define COUNT_BITS 24 /* of pages, in a thread's remembered range */
#define COUNT_MAX (((uint64_t)1 << COUNT_BITS) - 1)

/* Two words that belong together. Invariant: key is hash ^ value, if no write is under way. */
struct entry {
	_Atomic(uint64_t) key, value;
};

struct tables {
	struct entry rules[(size_t)1 << UNWIND_RULE_BITS];
	/*
	 * By thread: the pages that could be read when it walked its stack last, as the number of
	 * the first and their count.
	 */
	struct entry pages[(size_t)1 << UNWIND_THREAD_BITS];
};

static struct tables *tables;

static bool entry_get(struct entry *e, uint64_t hash, uint64_t *value)
{
	*value = atomic_load_explicit(&e->value, memory_order_relaxed);
	return (atomic_load_explicit(&e->key, memory_order_relaxed) ^ *value) == hash;
}

static void entry_set(struct entry *e, uint64_t hash, uint64_t value)
{
	atomic_store_explicit(&e->value, value, memory_order_relaxed);
	atomic_store_explicit(&e->key, hash ^ value, memory_order_relaxed);
}

bool unwind_begin(void)
{
	object_begin();
	if (!tables)
		tables = sys_map(sizeof(*tables));
	return tables;
}

/* ---- The stack ---- */

static void forget_pages(struct unwind *u)
{
	u->start = u->end = u->rsp & -PAGE;
	u->is_own = false;
}

/*
 * Whether the frame is the first of the thread: below the thread's variables, or where the first
 * thread began.
 */
static bool is_at_end(const struct unwind *u)
{
	return (uintptr_t)&lock_self - u->rsp < UNWIND_GAP ||
	       (uintptr_t)compat_stack_end - u->rsp < UNWIND_GAP;
}

/* Aligned words above rsp only. The pages up to it become known, unless it is far away. */
static bool can_read(struct unwind *u, uintptr_t at)
{
	if (at % sizeof(uintptr_t) || at < u->start || at >= SYS_MAP_MAX)
		return false;
	if (at >= u->end && at - u->end > UNWIND_GAP)
		return sys_is_readable((const void *)at);
	while (at >= u->end && sys_is_readable((const void *)u->end))
		u->end += PAGE;
	return at < u->end;
}

static bool read_word(struct unwind *u, uintptr_t at, uintptr_t *word)
{
	if (!can_read(u, at))
		return false;
	*word = *(const uintptr_t *)at;
	return true;
}

static uint64_t thread_hash(void)
{
	return hash_full((uintptr_t)&lock_self);
}

static struct entry *pages_entry(uint64_t hash)
{
	return &tables->pages[hash >> (64 - UNWIND_THREAD_BITS)];
}

/*
 * The remembered pages are of this stack if rsp is in them, or not far below with readable pages in
 * between.
 */
void unwind_first(struct unwind *u)
{
	uint64_t hash = thread_hash(), pages;

	if (!entry_get(pages_entry(hash), hash, &pages))
		pages = 0;
	u->is_exact = true;
	u->is_guess = false;
	u->is_own = true;
	u->start = pages >> COUNT_BITS << PAGE_SHIFT;
	u->end = u->start + ((pages & COUNT_MAX) << PAGE_SHIFT);
	if (u->rsp >= u->end || u->rsp + UNWIND_GAP < u->start)
		forget_pages(u);
	while (u->start > u->rsp && sys_is_readable((const void *)(u->start - PAGE)))
		u->start -= PAGE;
	if (u->start > u->rsp)
		forget_pages(u);
}

void unwind_last(const struct unwind *u)
{
	uint64_t hash = thread_hash(), count = (u->end - u->start) >> PAGE_SHIFT;

	if (count <= COUNT_MAX && (u->is_own || is_at_end(u)))
		entry_set(pages_entry(hash), hash, u->start >> PAGE_SHIFT << COUNT_BITS | count);
}

/* ---- Rules ---- */

static union cfi_rule rule_at(uintptr_t address)
{
	struct entry *e = &tables->rules[hash_fast(address) >> (64 - UNWIND_RULE_BITS)];
	union cfi_rule rule = {.kind = CFI_NONE};
	struct object object;
	uint64_t hash;

	if (!object_find(address, &object))
		return rule;
	hash = hash_full(address ^ object.id);
	if (!entry_get(e, hash, &rule.word)) {
		rule = cfi_read(&object, address);
		entry_set(e, hash, rule.word);
	}
	return rule;
}

/* ---- Steps ---- */

static bool read_saved(struct unwind *u, unsigned int place, uintptr_t cfa, int64_t words,
		       uintptr_t *value)
{
	uintptr_t offset = (uintptr_t)words * sizeof(uintptr_t);

	return place == CFI_SAME ||
	       read_word(u, (place == CFI_AT_CFA ? cfa : u->rbp) + offset, value);
}

static bool step_by_rule(struct unwind *u, union cfi_rule rule)
{
	const uintptr_t bases[] = {[CFI_RSP] = u->rsp, [CFI_RBP] = u->rbp, [CFI_RBX] = u->rbx};
	uintptr_t cfa = bases[rule.base] + (uintptr_t)(intptr_t)rule.offset;
	uintptr_t rbp = u->rbp, rbx = u->rbx;

	if ((rule.is_loaded && !read_word(u, cfa, &cfa)) || cfa <= u->rsp ||
	    !read_word(u, cfa - sizeof(cfa), &u->rip) ||
	    !read_saved(u, rule.rbp, cfa, rule.rbp_offset, &rbp) ||
	    !read_saved(u, rule.rbx, cfa, rule.rbx_offset, &rbx))
		return false;
	u->rsp = cfa;
	u->rbp = rbp;
	u->rbx = rbx;
	u->is_exact = u->is_guess = false;
	return u->rip != 0;
}

/* The handler has returned into code of libc that takes the registers from the stack. */
static bool step_to_interrupted(struct unwind *u)
{
	const ucontext_t *context = (const void *)u->rsp;
	const greg_t *registers = context->uc_mcontext.gregs;

	if (!can_read(u, u->rsp) || !can_read(u, (uintptr_t)(registers + REG_RIP)))
		return false;
	u->rip = (uintptr_t)registers[REG_RIP];
	u->rbp = (uintptr_t)registers[REG_RBP];
	u->rbx = (uintptr_t)registers[REG_RBX];
	u->rsp = (uintptr_t)registers[REG_RSP];
	u->is_exact = true;
	u->is_guess = false;
	if (u->rsp < u->start || u->rsp >= u->end) /* it was on another stack */
		forget_pages(u);
	return u->rip != 0;
}

static bool step_by_frame_pointer(struct unwind *u)
{
	uintptr_t rip, rbp = u->rbp;

	if (rbp < u->rsp || rbp - u->rsp > UNWIND_FRAME_MAX ||
	    !read_word(u, rbp + sizeof(rip), &rip) || !read_word(u, rbp, &u->rbp) || rip < PAGE ||
	    rip >= SYS_MAP_MAX)
		return false;
	u->rip = rip;
	u->rsp = rbp + 2 * sizeof(rip);
	u->is_exact = false;
	u->is_guess = true;
	return true;
}

/* Calls have two to seven bytes. Code with information can be read, but perhaps not before it. */
static bool is_behind_call(uintptr_t address)
{
	const unsigned char *at = (const unsigned char *)address;

	if (!sys_is_readable(at - 8))
		return false;
	if (at[-5] == 0xe8) /* relative */
		return true;
	for (int i = 2; i <= 7; i++)
		if (at[-i] == 0xff && (at[1 - i] & 0x38) == 0x10) /* indirect */
			return true;
	return false;
}

/* - 1: a call may be the last instruction of its function. */
bool unwind_step(struct unwind *u)
{
	union cfi_rule rule = rule_at(u->rip - !u->is_exact);

	if (u->is_guess && rule.kind != CFI_NONE) {
		if (!is_behind_call(u->rip))
			return false;
		u->is_guess = false;
	}
	switch (rule.kind) {
	case CFI_NONE:
		return step_by_frame_pointer(u);
	case CFI_FRAME:
		return step_by_rule(u, rule);
	case CFI_SIGNAL:
		return step_to_interrupted(u);
	default:
		return false;
	}
}
