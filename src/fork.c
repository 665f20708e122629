// SPDX-License-Identifier: BSD-3-Clause

/*
 * Fork. A thread that forks cannot hold the libc heap's lock until the child runs: on its way libc
 * waits for locks of its own (stdio's, the name service's), and whoever holds those may be waiting
 * for memory. So while a fork is under way the heap is frozen, consistent as it is, and its lock is
 * free. Threads that allocate meanwhile get mappings of their own, and what they free waits: both
 * are pushed on stacks that are whole at every moment, so the child finds them whole too. When the
 * last fork is over, in the parent and in the child, the heap takes both stacks in.
 *
 * The course heap is simply locked: its blocks are where the rules say, at any moment, and libc
 * itself never calls os_malloc.
 */

#include <sys/single_threaded.h>

#include "heap_core.h"
#include "kept.h"

static struct heap *const libc_heap = &heaps[HEAP_LIBC];

/* Guarded by the course heap's lock: whether the fork under way has a parent handler to run. */
static bool is_fork_guarded;

static void push(_Atomic(struct block_meta *) *stack, struct block_meta *b,
		 struct block_meta **link)
{
	*link = atomic_load(stack);
	while (!atomic_compare_exchange_weak(stack, link, b))
		;
}

/*
 * Take in what was pushed while the heap was frozen. Frees are taken off first: whatever is on
 * their stack was on the other one before.
 */
static void take_in_entered(struct heap *h)
{
	struct block_meta *blocks, *frees, *next;

	frees = atomic_exchange(&h->side_frees, NULL);
	for (blocks = atomic_exchange(&h->side_blocks, NULL); blocks; blocks = next) {
		next = blocks->next;
		h->stats.allocs++;
		h->stats.map_calls++;
		heap_register_mapped(h, blocks);
	}
	for (; frees; frees = next) {
		next = *payload_link(frees);
		seal(frees);
		if (heap_free_entered(h, "free", frees + 1))
			heap_give_back(frees);
	}
}

static void take_in(struct heap *h)
{
	if (!heap_enter(h))
		return; /* frozen again: it will be done at the end of that fork */
	take_in_entered(h);
	heap_leave(h);
}

void heap_side_register(struct heap *h, struct block_meta *b)
{
	push(&h->side_blocks, b, &b->next);
	if (!atomic_load(&h->frozen))
		take_in(h);
}

struct block_meta *heap_side_block_of(const char *call, void *p)
{
	struct block_meta *b = (struct block_meta *)p - 1;

	if ((uintptr_t)p % HEAP_ALIGN || !is_sealed(b) || b->status == STATUS_FREE)
		sys_fatal(call, p, "not a live block");
	return b;
}

void heap_side_free(struct heap *h, const char *call, void *p)
{
	struct block_meta *b = heap_side_block_of(call, p);
	uint32_t sealed = seal_of(b);

	if (!atomic_compare_exchange_strong(seal_word(b), &sealed, sealed ^ SEAL_DEFERRED))
		sys_fatal(call, p, "this block is already free");
	push(&h->side_frees, b, payload_link(b));
	if (!atomic_load(&h->frozen))
		take_in(h);
}

void heap_fork_prepare(void)
{
	if (__libc_single_threaded)
		return;
	heap_enter(&heaps[HEAP_COURSE]);
	is_fork_guarded = true;
	/* Freeze the libc heap between two operations, never inside one. */
	pthread_mutex_lock(&libc_heap->lock);
	atomic_fetch_add(&libc_heap->frozen, 1);
	pthread_mutex_unlock(&libc_heap->lock);
}

void heap_fork_parent(void)
{
	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	heap_leave(&heaps[HEAP_COURSE]);
	/* Whoever finds the heap open again waits for the lock until it knows all its blocks. */
	pthread_mutex_lock(&libc_heap->lock);
	libc_heap->is_locked = true;
	if (atomic_fetch_sub(&libc_heap->frozen, 1) == 1)
		take_in_entered(libc_heap);
	heap_leave(libc_heap);
}

void heap_fork_child(void)
{
	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	for (int i = 0; i < HEAP_COUNT; i++) {
		heaps[i].lock = (pthread_mutex_t)PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
		heaps[i].is_locked = false;
		atomic_store(&heaps[i].frozen, 0);
	}
	if (heap_guard)
		kept_fork_child();
	take_in(libc_heap);
}
