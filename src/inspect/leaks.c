// SPDX-License-Identifier: BSD-3-Clause

/*
 * OSMEM_OPTIONS=leaks: the search at exit. leaks_core.h says what it finds.
 *
 * It runs behind all other exit handlers and destructors, which may free blocks.
 */

#include "leaks.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "block/block.h"
#include "cache/tcache.h"
#include "compat.h"
#include "handler.h"
#include "helpers.h"
#include "inspect.h"
#include "leaks_core.h"
#include "lock.h"
#include "proc.h"

#define NAPS 1000 /* of NAP_NS, for all locks: a second */
#define MEMORY "there is no memory for the search"
#define NO_PROC "/proc cannot be read"
#define HELD "a lock of the heap is held"

static enum leaks_mode mode;
static _Atomic(bool) has_threads; /* when the last fork began; two threads may fork at once */
static bool is_inherited;

static void fail(const char *why)
{
	sys_report("leaks: process %u cannot be searched: %s", (unsigned int)sys_process(), why);
}

/* ---- Stopping ---- */

/* Locks of the heaps that are taken one after another, in lock order. */
struct taking {
	size_t taken, visited;
	unsigned int naps; /* that may still be taken */
};

static void take(struct lock *l, void *arg)
{
	struct taking *t = arg;

	if (t->visited++ > t->taken)
		return; /* one before was not taken */
	for (; !lock_try(l); t->naps--) {
		if (!t->naps)
			return;
		sys_sleep(NAP_NS);
	}
	t->taken++;
}

static void give(struct lock *l, void *arg)
{
	struct taking *t = arg;

	if (t->taken) {
		t->taken--;
		lock_release(l);
	}
}

static void each_lock(void (*visit)(struct lock *l, void *arg), struct taking *t)
{
	block_each_lock(visit, t);
	tcache_each_lock(visit, t);
}

/*
 * Stop the other threads outside of locked sections: while the caller has all locks. Returns NULL,
 * or the reason why they are not stopped. The exit may be called within a section, by a signal
 * handler or with a lock of the heap that a hook of sbrk waits for.
 */
static const char *stop_unlocked(struct stop *s)
{
	struct taking t = {.naps = NAPS};
	const char *why = NULL;

	if (lock_is_inside())
		return HELD;
	each_lock(take, &t);
	if (t.taken < t.visited)
		why = HELD;
	else if (!stop_begin(s))
		why = errno == ENOMEM ? MEMORY : NO_PROC;
	each_lock(give, &t);
	return why;
}

/* ---- The search ---- */

static const char *search_heaps(struct leaks_search *s)
{
	struct item_list copy;
	bool is_made = inspect_copy(&copy) && leaks_make_blocks(s, &copy);

	if (is_made) /* the kernel may refuse to take it back */
		leaks_add_hole(s, copy.items, copy.room * sizeof(*copy.items));
	inspect_drop(&copy);
	if (!is_made)
		return MEMORY;
	leaks_add_hole(s, s, sizeof(*s));
	leaks_add_hole(s, s->stop.threads, s->stop.bytes);
	leaks_sort_holes(s);
	s->pages = proc_open_pages();
	is_made = leaks_mark_reached(s);
	if (is_made)
		leaks_mark_leaked(s);
	sys_close(s->pages);
	return is_made ? NULL : NO_PROC;
}

static const char *search_stopped(struct leaks_search *s)
{
	struct fault_state faults;
	const char *why;

	fault_begin(&faults);
	why = stop_unlocked(&s->stop);
	if (!why) {
		why = search_heaps(s);
		stop_end(&s->stop);
		if (!why && !leaks_collect(s))
			why = MEMORY;
	}
	fault_end(&faults);
	return why;
}

/*
 * The address of a block that a thread is about to return or to free may be nowhere: in registers
 * are a segment and a page, say. So with other threads a leak is what a second search finds again.
 */
static const char *search_twice(struct leaks_search *s)
{
	const char *why = search_stopped(s);

	if (why || (!s->stop.count && !s->stop.running))
		return why;
	if (!leaks_save_candidates(s))
		return MEMORY;
	if (!s->candidate_count)
		return NULL;
	leaks_drop_report(s);
	leaks_drop(s);
	sys_sleep(NAP_NS);
	return search_stopped(s);
}

/* Its frame is below that of its caller, which has saved all registers. */
static __attribute__((noinline)) void search(void)
{
	struct leaks_search *s = sys_map(sizeof(*s));
	const char *why = MEMORY;
	bool is_any = false;

	if (s) {
		s->is_inherited = is_inherited;
		stop_note_own(&s->own, (uintptr_t)__builtin_frame_address(0));
		why = search_twice(s);
		is_any = !why && leaks_print(s);
		leaks_drop_report(s);
		leaks_drop(s);
		leaks_drop_candidates(s);
		sys_release(s, sizeof(*s));
	}
	if (why)
		fail(why);
	if (is_any && mode == LEAKS_EXIT)
		compat_end(LEAKS_STATUS);
}

/* ---- Start and end ---- */

static _Atomic(uint32_t) searching; /* the thread that searches or has done so, or 0 */

static void at_end(void)
{
	searching = sys_thread();
	__builtin_unwind_init(); /* saves the registers of the callers */
	search();
}

/*
 * A thread whose system call was interrupted may return from main, or exit, while another one still
 * searches. It would end the process without the report, and with another status. It waits for the
 * other one to do so.
 */
static void wait_for_search(void)
{
	while (searching && searching != sys_thread())
		sys_sleep(0);
}

static void fork_prepare(void)
{
	has_threads = proc_has_threads();
}

static void fork_child(void)
{
	is_inherited |= has_threads;
	searching = 0;
}

void leaks_begin(enum leaks_mode with)
{
	mode = with;
	pthread_atfork(fork_prepare, NULL, fork_child);
	if (!compat_at_end(wait_for_search, at_end))
		fail(MEMORY);
}
