// SPDX-License-Identifier: BSD-3-Clause

#include "stop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "compat.h"
#include "handler.h"
#include "helpers.h"
#include "kernel.h"
#include "proc.h"
#include "registers.h"
#include "tunables.h"

#define HEADROOM 64 /* for threads that start meanwhile */
#define WAIT_MS 1000 /* for all other threads */
#define RECHECK_MS 20 /* until threads that have not answered may have ended */

/* One round is in progress while round is odd. */
static struct {
	_Atomic(uint32_t) round;
	_Atomic(uint32_t) answered; /* threads that have stopped */
	_Atomic(uint32_t) claimed; /* entries of threads that they have taken */
	struct stopped_thread *threads;
	uint32_t *ids; /* of all that are to get the signal */
	size_t sent, room; /* of these */
	size_t refused; /* that did not get it, because the kernel refused that */
	bool is_incomplete; /* not all got the signal: there was no room, or their list failed */
	bool is_on; /* the handler is installed */
	uint32_t own; /* the caller's id */
	struct handler before;
} all;

/* ---- The other threads ---- */

/* The kernel saves the registers, floating-point ones last, above the frame of the handler. */
static void note_registers(struct stopped_thread *t, void *frame, const ucontext_t *context)
{
	uintptr_t other = (uintptr_t)context->uc_stack.ss_sp;

	t->signal_stack = other;
	t->saved = (uintptr_t)frame;
	t->saved_end = registers_end(context);
	t->stack = registers_interrupted(context).sp;
	if (t->stack - other < context->uc_stack.ss_size) {
		t->stack = 0;
		t->saved_end = other + context->uc_stack.ss_size;
	}
}

/* A thread that answers too late does not wait. */
static void on_signal(int signal, siginfo_t *info, void *context)
{
	uint32_t round = atomic_load(&all.round);
	size_t i;

	(void)signal;
	(void)info;
	if (round % 2 == 0)
		return;
	i = atomic_fetch_add(&all.claimed, 1);
	if (i < all.room) {
		all.threads[i].self = (uintptr_t)pthread_self();
		note_registers(&all.threads[i], __builtin_frame_address(0), context);
		atomic_store(&all.threads[i].id, (uint32_t)RAW(gettid));
	}
	atomic_fetch_add(&all.answered, 1);
	sys_wake_one(&all.answered);
	while (atomic_load(&all.round) == round)
		sys_sleep_on(&all.round, round, 0);
}

/* ---- The caller ---- */

void stop_note_own(struct stopped_thread *t, uintptr_t stack)
{
	stack_t other = {0};

	RAW(sigaltstack, NULL, &other);
	*t = (struct stopped_thread){.id = (uint32_t)RAW(gettid),
				     .self = (uintptr_t)pthread_self(),
				     .stack = stack,
				     .signal_stack = (uintptr_t)other.ss_sp};
	if (other.ss_flags & SS_ONSTACK) {
		t->stack = 0;
		t->saved = stack;
		t->saved_end = (uintptr_t)other.ss_sp + other.ss_size;
	}
}

static bool is_in(const uint32_t *ids, size_t n, uint32_t id)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

static void count_thread(uint32_t id, void *arg)
{
	(void)id;
	++*(size_t *)arg;
}

/* A thread that has ended gets none. */
static void send(uint32_t id, void *arg)
{
	long result;

	(void)arg;
	if (id == all.own || is_in(all.ids, all.sent, id))
		return;
	if (all.sent == all.room) {
		all.is_incomplete = true;
		return;
	}
	result = RAW(tgkill, sys_process(), id, COMPAT_SIGNAL_FOR_ALL);
	if (result == -ESRCH)
		return;
	all.ids[all.sent++] = id;
	all.refused += result < 0;
}

static bool has_answered(uint32_t id)
{
	size_t n = atomic_load(&all.claimed);

	for (size_t i = 0; i < n && i < all.room; i++)
		if (atomic_load(&all.threads[i].id) == id)
			return true;
	return false;
}

/* The number of threads that cannot answer, because they have ended since they got the signal. */
static size_t count_ended(void)
{
	size_t n = 0;

	for (size_t i = 0; i < all.sent; i++)
		if (!has_answered(all.ids[i]) && !proc_thread_is_alive(all.ids[i]))
			n++;
	return n;
}

/* Wait for all that got the signal. Returns the number of those that still run at the end. */
static size_t wait_for_answers(uint64_t end)
{
	uint64_t checked = sys_now_ms();
	size_t ended = 0;

	for (;;) {
		uint32_t answered = atomic_load(&all.answered);
		uint64_t now = sys_now_ms();

		if (answered + ended + all.refused >= all.sent)
			return all.refused;
		if (now >= end)
			return all.sent - answered - ended;
		if (now - checked >= RECHECK_MS) {
			checked = now;
			ended = count_ended();
		} else {
			sys_sleep_on(&all.answered, answered, NAP_NS);
		}
	}
}

/* Threads that have not stopped may start others. */
static size_t stop_all(void)
{
	uint64_t end = sys_now_ms() + WAIT_MS;
	size_t before, running;

	do {
		before = all.sent;
		all.is_incomplete |= !proc_each_thread(send, NULL);
		running = wait_for_answers(end);
	} while (all.sent > before);
	return running + all.is_incomplete;
}

bool stop_begin(struct stop *s)
{
	size_t count = 0;

	*s = (struct stop){0};
	if (!proc_each_thread(count_thread, &count))
		return false;
	all.room = count + count / 2 + HEADROOM;
	s->bytes = all.room * (sizeof(*all.threads) + sizeof(*all.ids));
	all.threads = sys_map(s->bytes);
	if (!all.threads)
		return false;
	s->threads = all.threads;
	all.ids = (uint32_t *)(all.threads + all.room);
	all.sent = all.refused = 0;
	all.is_incomplete = false;
	all.own = (uint32_t)RAW(gettid);
	all.answered = all.claimed = 0;
	all.is_on = count > 1 && handler_set(COMPAT_SIGNAL_FOR_ALL, on_signal,
					     SA_RESTART | SA_ONSTACK, &all.before);
	if (!all.is_on) {
		s->running = count - 1;
		return true;
	}
	atomic_fetch_add(&all.round, 1);
	s->running = stop_all();
	s->count = atomic_load(&all.claimed);
	if (s->count > all.room)
		s->count = all.room;
	return true;
}

/* A thread that has not answered may still do so: the handler and the memory stay. */
void stop_end(struct stop *s)
{
	if (all.is_on) {
		atomic_fetch_add(&all.round, 1);
		RAW(futex, &all.round, COMPAT_FUTEX_WAKE, INT_MAX);
		if (s->running)
			return;
		handler_restore(COMPAT_SIGNAL_FOR_ALL, &all.before);
	}
	sys_release(all.threads, s->bytes);
}
