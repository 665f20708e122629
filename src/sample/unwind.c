// SPDX-License-Identifier: BSD-3-Clause

/*
 * Steps from frame to frame.
 *
 * 1. Where there is call frame information, a step follows it. A table keeps the rules of return
 *    addresses that were met before, because reading the information takes several times as long.
 *    An entry belongs to an object, so it does not outlive dlclose.
 * 2. Elsewhere a register may be a frame pointer: of code that was generated at run time, or
 *    compiled without the information. It has to lie above sp, near it and aligned. The address
 *    that it leads to is a guess. It counts if there is a call before it, or if the next step
 *    succeeds.
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

#include "cfi.h"
#include "compat.h"
#include "hash.h"
#include "helpers.h"
#include "lock.h"
#include "tunables.h"

#define PAGE ((uintptr_t)4096) /* the smallest: larger pages are whole numbers of it */
#define PAGE_SHIFT 12
#define NO_OBJECT UINT64_MAX /* no object has this id */
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
	return REGISTERS_KNOWN && tables;
}

/* ---- The stack ---- */

static void forget_pages(struct unwind *u)
{
	u->start = u->end = u->at.sp & -PAGE;
	u->is_own = false;
}

/*
 * Whether the frame is the first of the thread: below the thread's variables, or where the first
 * thread began.
 */
static bool is_at_end(const struct unwind *u)
{
	return (uintptr_t)&lock_self - u->at.sp < UNWIND_GAP ||
	       (uintptr_t)compat_stack_end - u->at.sp < UNWIND_GAP;
}

/* Aligned words above sp only. The pages up to it become known, unless it is far away. */
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
 * The remembered pages are of this stack if sp is in them, or not far below with readable pages in
 * between.
 */
void unwind_first(struct unwind *u)
{
	uint64_t hash = thread_hash(), pages;

	if (!entry_get(pages_entry(hash), hash, &pages))
		pages = 0;
	u->is_exact = true;
	u->is_guess = u->is_above = false;
	u->is_own = true;
	u->start = pages >> COUNT_BITS << PAGE_SHIFT;
	u->end = u->start + ((pages & COUNT_MAX) << PAGE_SHIFT);
	if (u->at.sp >= u->end || u->at.sp + UNWIND_GAP < u->start)
		forget_pages(u);
	while (u->start > u->at.sp && sys_is_readable((const void *)(u->start - PAGE)))
		u->start -= PAGE;
	if (u->start > u->at.sp)
		forget_pages(u);
}

void unwind_last(const struct unwind *u)
{
	uint64_t hash = thread_hash(), count = (u->end - u->start) >> PAGE_SHIFT;

	if (count <= COUNT_MAX && (u->is_own || is_at_end(u)))
		entry_set(pages_entry(hash), hash, u->start >> PAGE_SHIFT << COUNT_BITS | count);
}

/* ---- Rules ---- */

/* Some kernels and C libraries give no information about the code that a handler returns to. */
static union cfi_rule rule_without(uintptr_t pc)
{
	const void *code = (const void *)pc;
	bool is_signal = sys_is_readable(code) && registers_is_return(code);

	return (union cfi_rule){.kind = is_signal ? CFI_SIGNAL : CFI_NONE};
}

/* object may be NULL. */
static union cfi_rule read_rule(const struct object *object, uintptr_t address, uintptr_t pc)
{
	union cfi_rule rule = {.kind = CFI_NONE};

	if (object)
		rule = cfi_read(object, address);
	return rule.kind == CFI_NONE ? rule_without(pc) : rule;
}

/* - 1: a call may be the last instruction of its function. */
static union cfi_rule rule_at(const struct unwind *u)
{
	uintptr_t address = u->at.pc - !u->is_exact;
	struct entry *e = &tables->rules[hash_fast(address) >> (64 - UNWIND_RULE_BITS)];
	union cfi_rule rule;
	struct object object;
	bool is_found = object_find(address, &object);
	uint64_t hash = hash_full(address ^ (is_found ? object.id : NO_OBJECT));

	if (!entry_get(e, hash, &rule.word)) {
		rule = read_rule(is_found ? &object : NULL, address, u->at.pc);
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
	       read_word(u, (place == CFI_AT_CFA ? cfa : u->at.fp) + offset, value);
}

/* Only before its first call does a function have its return address in a register. */
static bool read_return(struct unwind *u, union cfi_rule rule, uintptr_t cfa, struct registers *to)
{
	if (REGISTERS_RETURN != REGISTERS_OTHER)
		return cfa > u->at.sp && read_word(u, cfa - sizeof(cfa), &to->pc);
	to->pc = registers_strip(to->other);
	return cfa > u->at.sp || (cfa == u->at.sp && u->is_exact && rule.other == CFI_SAME);
}

/* The frame pointer is where the function has saved its caller's. */
static bool find_cfa(const struct unwind *u, union cfi_rule rule, uintptr_t *cfa)
{
	*cfa = u->at.fp - (uintptr_t)(intptr_t)rule.fp_offset * sizeof(*cfa);
	return rule.fp == CFI_AT_CFA;
}

static bool step_by_rule(struct unwind *u, union cfi_rule rule)
{
	const uintptr_t bases[] = {
		[CFI_SP] = u->at.sp, [CFI_FP] = u->at.fp, [CFI_OTHER] = u->at.other};
	uintptr_t cfa = bases[rule.base] + (uintptr_t)(intptr_t)rule.offset * sizeof(cfa);
	struct registers to = u->at;

	if (u->is_above && rule.base == CFI_SP && !find_cfa(u, rule, &cfa))
		return false;
	if ((rule.is_loaded && !read_word(u, cfa, &cfa)) ||
	    !read_saved(u, rule.fp, cfa, rule.fp_offset, &to.fp) ||
	    !read_saved(u, rule.other, cfa, rule.other_offset, &to.other) ||
	    !read_return(u, rule, cfa, &to))
		return false;
	to.sp = cfa;
	u->at = to;
	u->is_exact = u->is_guess = u->is_above = false;
	return to.pc != 0;
}

/* The handler has returned into code that takes the registers from the stack. */
static bool step_to_interrupted(struct unwind *u)
{
	const ucontext_t *context = (const void *)(u->at.sp + REGISTERS_CONTEXT);

	if (!can_read(u, (uintptr_t)context) ||
	    !can_read(u, (uintptr_t)(context + 1) - sizeof(uintptr_t)))
		return false;
	u->at = registers_interrupted(context);
	u->is_exact = true;
	u->is_guess = u->is_above = false;
	if (u->at.sp < u->start || u->at.sp >= u->end) /* it was on another stack */
		forget_pages(u);
	return u->at.pc != 0;
}

static bool step_by_frame_pointer(struct unwind *u)
{
	uintptr_t record = u->at.fp - REGISTERS_RECORD;
	struct registers to = {.other = u->at.other, .sp = record + 2 * sizeof(record)};

	if (record < u->at.sp || record - u->at.sp > UNWIND_FRAME_MAX ||
	    !read_word(u, record + sizeof(record), &to.pc) || !read_word(u, record, &to.fp))
		return false;
	to.pc = registers_strip(to.pc);
	if (to.pc < PAGE || to.pc >= SYS_MAP_MAX)
		return false;
	u->at = to;
	u->is_exact = false;
	u->is_guess = true;
	u->is_above = !REGISTERS_RECORD_IS_LAST;
	return true;
}

/* Code with information can be read, but perhaps not before it. */
static bool is_behind_call(uintptr_t address)
{
	return sys_is_readable((const void *)(address - 8)) && registers_is_call(address);
}

bool unwind_step(struct unwind *u)
{
	union cfi_rule rule = rule_at(u);

	if (u->is_guess && rule.kind != CFI_NONE) {
		if (!is_behind_call(u->at.pc))
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
