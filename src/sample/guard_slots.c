// SPDX-License-Identifier: BSD-3-Clause

/* Guarded blocks: what the other files share: the slots, the stacks, the lock of reports. */

#include "guard_core.h"
#include "helpers.h"
#include "stack.h"
#include "sys_signals.h"

struct guard_area guard_area;
struct guard *guard;

uintptr_t guard_slot_start(size_t i)
{
	size_t page = sys_page_size();

	return guard_area.start + page + i * (guard_slot_size() + page);
}

size_t guard_slot_index(uintptr_t address)
{
	size_t page = sys_page_size(), offset = address - guard_area.start;

	return offset < page ? 0 : (offset - page) / (guard_slot_size() + page);
}

void guard_set_block(struct guard_block *to, const struct guard_block *from)
{
	to->start = from->start;
	to->size = from->size;
	to->align = from->align;
	to->pages = from->pages;
	to->pages_size = from->pages_size;
}

enum guard_state guard_copy_block(const struct guard_slot *s, struct guard_block *block)
{
	uint32_t state = s->state;

	guard_set_block(block, &s->block);
	return s->state == state ? guard_state_in(state) : SLOT_BUSY;
}

void guard_note_call(struct guard_call *c)
{
	c->thread = sys_thread();
	c->count = stack_take(c->frames, GUARD_FRAMES);
}

uint64_t guard_lock(void)
{
	uint64_t mask = signals_block();
	uint32_t held = 0;

	/* A child of _Fork may wait for a thread that does not exist there: not for ever. */
	for (int i = 0; i < GUARD_WAITS; i++) {
		if (atomic_compare_exchange_strong(&guard->lock, &held, 1))
			break;
		held = 0;
		sys_sleep_on(&guard->lock, 1, NAP_NS);
	}
	return mask;
}

void guard_unlock(uint64_t mask)
{
	atomic_store(&guard->lock, 0);
	sys_wake_one(&guard->lock);
	signals_restore(mask);
}
