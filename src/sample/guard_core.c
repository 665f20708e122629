// SPDX-License-Identifier: BSD-3-Clause

/* What the other files of guarded blocks stand on: the state, its lock, and the places of slots. */

#include "guard_core.h"

#include "helpers.h"
#include "signals.h"
#include "stack.h"

struct guard_area guard_area;
struct guard *guard;

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

uintptr_t guard_slot_start(size_t i)
{
	size_t page = sys_page_size();

	return guard_area.start + page + i * (GUARD_BLOCK_MAX + page);
}

size_t guard_slot_index(uintptr_t address)
{
	size_t page = sys_page_size(), offset = address - guard_area.start;

	return offset < page ? 0 : (offset - page) / (GUARD_BLOCK_MAX + page);
}

void guard_note_call(struct guard_call *c)
{
	c->thread = sys_thread();
	c->count = stack_take(c->frames, GUARD_FRAMES);
}
