// SPDX-License-Identifier: BSD-3-Clause

/*
 * Guarded blocks: the handler of SIGSEGV.
 *
 * 1. The kernel has our handler, with the flags and the mask of the program's action. So the
 *    program's handler finds the stack, the mask and the context that it would find without us;
 *    with SA_RESETHAND it runs once. It is entered by a jump: its return address is the
 *    kernel's, and an unwinder does not see us.
 * 2. The program sets and queries its action through libc/signal.c, and never sees ours. If it got
 *    ours as the old action, two handlers could call each other without an end.
 * 3. If the program has no handler, the default action is restored before we return. The
 *    instruction is executed again, and the kernel ends the process there. A signal that was sent
 *    is sent again, as it was.
 * 4. While the program ignores the signal, so does the kernel: programs that it executes inherit
 *    that.
 * 5. A child of vfork shares our memory, but has actions of its own in the kernel. So it changes
 *    only these.
 */

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "compat.h"
#include "guard_core.h"
#include "helpers.h"
#include "sys_signals.h"

typedef void fault_handler(int signal, siginfo_t *info, void *context);

/* The program's action: as in the kernel without us. A fork may happen while it changes. */
static struct {
	struct sigaction versions[2];
	_Atomic(unsigned int) current; /* its lowest bit is the valid version */
	_Atomic(fault_handler *) handler; /* NULL: the default action */
} program;

/* ---- The handler ---- */

/* Rule 3. */
static void end_by(siginfo_t *info)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	compat_sigaction(SIGSEGV, &action, NULL);
	if (info->si_code <= 0 || info->si_code == SI_KERNEL)
		signals_resend(info);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	fault_handler *next = program.handler;

	if (info->si_code > 0 && guard_owns(info->si_addr))
		guard_report_fault((uintptr_t)info->si_addr, context);
	if (next)
		next(signal, info, context);
	else
		end_by(info);
}

/* ---- Actions ---- */

static bool is_ours(const struct sigaction *action)
{
	return action->sa_sigaction == on_fault;
}

static const struct sigaction *programs_action(void)
{
	return &program.versions[program.current & 1];
}

static void set_programs_action(const struct sigaction *action)
{
	program.versions[~program.current & 1] = *action;
	program.current++;
	program.handler = action->sa_handler == SIG_DFL ? NULL : action->sa_sigaction;
}

/* Make was, an action of the kernel, what it would be without us. */
static void hide(struct sigaction *was)
{
	const struct sigaction *action = programs_action();

	if (is_ours(was))
		*was = *action;
	else if (was->sa_handler == SIG_DFL && action->sa_flags & (int)SA_RESETHAND)
		was->sa_flags = action->sa_flags; /* the kernel has reset the handler only */
}

/* Put our handler in front of the action that the kernel has now: rules 1 and 4. */
static void go_first(void)
{
	struct sigaction action;

	if (compat_sigaction(SIGSEGV, NULL, &action) != 0 || is_ours(&action) ||
	    action.sa_handler == SIG_IGN)
		return;
	set_programs_action(&action);
	if (action.sa_handler == SIG_DFL) {
		memset(&action.sa_mask, 0xff, sizeof(action.sa_mask));
		action.sa_flags = SA_ONSTACK;
	}
	action.sa_flags |= SA_SIGINFO;
	action.sa_sigaction = on_fault;
	compat_sigaction(SIGSEGV, &action, NULL);
}

/* Rule 5. */
static bool is_shared(void)
{
	return sys_process() != guard->process;
}

int guard_sigaction(const struct sigaction *set, struct sigaction *old)
{
	struct sigaction wanted = set ? *set : (struct sigaction){0}, was;
	bool is_locked = !is_shared();
	uint64_t mask = is_locked ? guard_lock() : 0;
	int status;

	if (is_ours(&wanted))
		wanted = *programs_action();
	status = compat_sigaction(SIGSEGV, set ? &wanted : NULL, &was);
	if (status == 0)
		hide(&was);
	if (status == 0 && is_locked && set)
		go_first();
	if (is_locked)
		guard_unlock(mask);
	if (status == 0 && old)
		*old = was;
	return status;
}

sighandler_t guard_signal(sighandler_t handler)
{
	bool is_locked = !is_shared();
	uint64_t mask = is_locked ? guard_lock() : 0;
	struct sigaction was;
	sighandler_t old;

	if (compat_sigaction(SIGSEGV, NULL, &was) == 0)
		hide(&was);
	if ((uintptr_t)handler == (uintptr_t)on_fault)
		handler = programs_action()->sa_handler;
	old = compat_signal(SIGSEGV, handler); /* it knows siginterrupt(3) */
	if (old != SIG_ERR)
		old = was.sa_handler;
	if (is_locked) {
		go_first();
		guard_unlock(mask);
	}
	return old;
}

/* ---- Begin ---- */

static void fork_child(void)
{
	guard->lock = 0; /* its holder may not exist here */
	guard->is_reporting = false;
	guard->process = sys_process();
}

void guard_signal_begin(void)
{
	uint64_t mask;

	guard->process = sys_process();
	pthread_atfork(NULL, NULL, fork_child);
	mask = guard_lock();
	go_first();
	guard_unlock(mask);
}
