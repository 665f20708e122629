// SPDX-License-Identifier: BSD-3-Clause

/*
 * Guarded blocks: reports.
 *
 * 1. A report about a fault is made in the handler, on a stack of its own: that of the program may
 *    be full. It allocates nothing, and waits for no lock of malloc.
 * 2. A fault is about the nearest block that is live or was freed last in its slot. It is reported
 *    once for each block: a program that survives may touch it again and again.
 * 3. Slots are not reused while a report is printed.
 */

#include <errno.h>
#include <string.h>

#include "arch.h"
#include "guard_core.h"
#include "helpers.h"
#include "stack.h"
#include "sys_signals.h"

static void (*on_other_fatal)(void);

/* ---- Stacks ---- */

static void print_call(const char *what, const struct guard_call *c)
{
	sys_report("%s in thread %u:", what, c->thread);
	if (c->count)
		stack_print(c->frames, c->count);
	else
		sys_report("  the stack is unknown");
}

static void print_block(const struct guard_slot *s)
{
	print_call("the block was allocated", &s->alloc);
	if (guard_state_of(s) == SLOT_FREED)
		print_call("the block was freed", &s->free);
}

/*
 * The stack of the interrupted code, without that of the handler. Frames are return addresses: one
 * is added to that of the instruction.
 */
static void note_fault(struct guard_call *c, uintptr_t instruction)
{
	uint32_t first = 0;

	guard_note_call(c);
	while (first < c->count && c->frames[first] != instruction)
		first++;
	if (first == c->count) { /* the unwinder did not find it */
		c->count = 1;
		c->frames[0] = instruction + 1;
		return;
	}
	c->count -= first;
	memmove(c->frames, c->frames + first, c->count * sizeof(c->frames[0]));
	c->frames[0]++;
}

/* ---- Faults ---- */

/* How far an address is from a block; 0: inside. */
static size_t distance(const struct guard_block *b, uintptr_t address)
{
	if (address < b->start)
		return b->start - address;
	return address < b->start + b->size ? 0 : address - (b->start + b->size) + 1;
}

/* Rule 2. */
static struct guard_slot *nearest(uintptr_t address)
{
	size_t i = guard_slot_index(address), least = SIZE_MAX;
	struct guard_slot *best = NULL;

	for (size_t at = i ? i - 1 : 0; at <= i + 1 && at < GUARD_SLOTS; at++) {
		struct guard_slot *s = &guard->slots[at];
		struct guard_block b;
		enum guard_state state = guard_copy_block(s, &b);

		if ((state != SLOT_LIVE && state != SLOT_FREED) || distance(&b, address) >= least)
			continue;
		least = distance(&b, address);
		best = s;
	}
	return best;
}

static void print_fault(const struct guard_slot *s, uintptr_t address, const char *access)
{
	const struct guard_block *b = &s->block;
	bool is_freed = guard_state_of(s) == SLOT_FREED, is_before = address < b->start;
	const char *kind = is_freed ? "use after free" : is_before ? "underflow" : "overflow";
	size_t far = distance(b, address);

	sys_report("%s: %s at 0x%lx, byte %lu %s a %sblock of %lu bytes at 0x%lx", kind, access,
		   address, far ? far : address - b->start + 1,
		   !far	       ? "of"
		   : is_before ? "before"
			       : "behind",
		   is_freed ? "freed " : "", b->size, b->start);
}

struct fault {
	uintptr_t address;
	struct signals_fault at;
	struct guard_call call;
};

static void report(void *arg)
{
	struct fault *f = arg;
	static const char *const names[] = {[REGISTERS_READ] = "a read",
					    [REGISTERS_WRITE] = "a write",
					    [REGISTERS_UNKNOWN] = "an access"};
	struct guard_slot *s = nearest(f->address);

	if (!s || atomic_flag_test_and_set(&s->is_reported))
		return;
	print_fault(s, f->address, names[f->at.access]);
	note_fault(&f->call, f->at.instruction);
	print_call("the access was", &f->call);
	print_block(s);
}

void guard_report_fault(uintptr_t address, void *context)
{
	int saved_errno = errno;
	uint64_t mask = guard_lock();
	struct fault *f = (struct fault *)(void *)guard->stack;

	guard->is_reporting = true;
	*f = (struct fault){.address = address, .at = signals_get_fault(context)};
	arch_call_on(guard->stack + sizeof(guard->stack), report, f);
	guard->is_reporting = false;
	guard_unlock(mask);
	errno = saved_errno;
}

/* ---- Calls ---- */

/* Idempotent: on_fatal has done it if there was a line. */
static void end_misuse(void)
{
	if (!guard->misused || guard->misused_by != sys_thread())
		return;
	guard->misused = NULL;
	guard->is_reporting = false;
	guard_unlock(guard->misused_mask);
}

/* Called behind the line of a report. Then a handler of SIGABRT finds all as usual. */
static void on_fatal(void)
{
	struct guard_call *c = (struct guard_call *)(void *)guard->stack;

	if (!guard->misused || guard->misused_by != sys_thread()) {
		if (on_other_fatal)
			on_other_fatal();
		return;
	}
	guard_note_call(c);
	print_call("the call was", c);
	print_block(guard->misused);
	end_misuse();
}

static void begin_misuse(struct guard_slot *s)
{
	guard->misused_mask = guard_lock();
	guard->misused_by = sys_thread();
	guard->misused = s;
	guard->is_reporting = true;
}

void guard_report_begin(void)
{
	on_other_fatal = sys_on_fatal;
	sys_on_fatal = on_fatal;
}

void guard_damaged(const char *call, struct guard_slot *s, size_t at, const char *side)
{
	begin_misuse(s);
	sys_fatal(call, (const void *)s->block.start,
		  "byte %lu %s this block of %lu bytes is overwritten", (unsigned long)at, side,
		  (unsigned long)s->block.size);
}

void guard_bad_size(const char *call, struct guard_slot *s, size_t size)
{
	begin_misuse(s);
	sys_misuse(call, (const void *)s->block.start,
		   "not allocated with %lu bytes: this block has %lu", (unsigned long)size,
		   (unsigned long)s->block.size);
	end_misuse();
}

void guard_bad_align(const char *call, struct guard_slot *s, size_t align)
{
	begin_misuse(s);
	sys_misuse(call, (const void *)s->block.start,
		   "not allocated with an alignment of %lu bytes", (unsigned long)align);
	end_misuse();
}

void guard_bad_pointer(const char *call, const void *p)
{
	uintptr_t address = (uintptr_t)p;
	struct guard_slot *s = &guard->slots[guard_slot_index(address)];
	bool is_start = guard_state_of(s) != SLOT_UNUSED && s->block.start == address;

	if (!is_start)
		s = nearest(address);
	if (!s) {
		sys_misuse(call, p, "not a block");
		return;
	}
	begin_misuse(s);
	if (is_start)
		sys_misuse(call, p, "this block is already free");
	else
		sys_misuse(call, p, "not the start of a block, but %s %s of %lu bytes at 0x%lx",
			   distance(&s->block, address) ? "near" : "inside",
			   guard_state_of(s) == SLOT_LIVE ? "a live block" : "a freed block",
			   s->block.size, s->block.start);
	end_misuse();
}
