// SPDX-License-Identifier: BSD-3-Clause

/* The list of thread caches, its lock, and modes: what all other files of this folder stand on. */

#include "fork.h"
#include "tcache_core.h"

struct caches tcache_all;

void *const tcache_no_cells[MAGAZINE_SIZE / sizeof(void *)] = {MAGAZINE_END};

const struct tcache tcache_none = {
	.bins = {[0 ... SLAB_BIN_COUNT - 1] = {.top = (void **)(uintptr_t)tcache_no_cells}},
	.sample_left = -1,
	.spans = &span_cache_none,
};

_Thread_local struct tcache_thread tcache_thread = {
	.fast = (struct tcache *)(uintptr_t)&tcache_none,
	.fast_free = (struct tcache *)(uintptr_t)&tcache_none,
};

_Thread_local uint16_t tcache_early_frees;

/* Locking. */

void caches_enter(void)
{
	fork_check();
	lock_acquire(&tcache_all.lock);
}

void caches_leave(void)
{
	lock_release(&tcache_all.lock);
}

void tcache_set_fast(struct tcache *tc)
{
	struct tcache *none = (struct tcache *)(uintptr_t)&tcache_none;
	struct tcache_thread *thread = tc->thread;

	if (!thread)
		return;
	/* Never set them to tc, even briefly: the owner may run, and must clear hardened cells. */
	if (tc->polls || tcache_is_closed()) {
		thread->fast = thread->fast_free = none;
		return;
	}
	thread->fast = tcache_all.modes ? none : tc;
	thread->fast_free = tc;
	/* Others set a mode, or polls, and then fast. */
	atomic_thread_fence(memory_order_seq_cst);
	if (tcache_all.modes || tc->polls)
		thread->fast = none;
	if (tcache_is_closed() || tc->polls)
		thread->fast_free = none;
}

/* Modes. */

static void set_modes(unsigned int set, unsigned int clear)
{
	caches_enter();
	tcache_all.modes = (tcache_all.modes | set) & ~clear;
	atomic_thread_fence(memory_order_seq_cst);
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next)
		tcache_set_fast(tc);
	caches_leave();
}

void tcache_set_mode(enum tcache_mode mode, bool is_on)
{
	set_modes(is_on ? mode : 0, is_on ? 0 : mode);
}

void tcache_set_perturb(unsigned char value)
{
	tcache_all.perturb = value;
	tcache_set_mode(TCACHE_PERTURBS, value);
}
