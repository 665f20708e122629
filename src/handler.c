// SPDX-License-Identifier: BSD-3-Clause

#include "handler.h"

#include <setjmp.h>
#include <string.h>

#include "kernel.h"

#define SIGNAL_BIT(signal) (UINT64_C(1) << ((signal)-1))

static struct handler make(void (*function)(int signal, siginfo_t *info, void *context),
			   unsigned int flags, uint64_t mask)
{
	return (struct handler)
	{
		.function = function, .flags = flags | ARCH_RESTORER,
#if ARCH_RESTORER
		.restorer = arch_restore,
#endif
		.mask = mask,
	};
}

bool handler_set(int signal, void (*function)(int signal, siginfo_t *info, void *context),
		 int flags, struct handler *old)
{
	struct handler new = make(function, (unsigned int)flags | SA_SIGINFO,
				  flags & SA_NODEFER ? 0 : ~UINT64_C(0));

	return CALL(rt_sigaction, signal, &new, old, KERNEL_MASK_SIZE) == 0;
}

void handler_restore(int signal, const struct handler *old)
{
	RAW(rt_sigaction, signal, old, NULL, KERNEL_MASK_SIZE);
}

int handler_sigaction(int signal, const struct sigaction *new, struct sigaction *old)
{
	struct handler set = {0}, was;

	if (new) {
		set = make(new->sa_sigaction, (unsigned int)new->sa_flags, 0);
		memcpy(&set.mask, &new->sa_mask, sizeof(set.mask));
	}
	if (CALL(rt_sigaction, signal, new ? &set : NULL, &was, KERNEL_MASK_SIZE) != 0)
		return -1;
	if (old) {
		*old = (struct sigaction){.sa_flags = (int)(was.flags & ~ARCH_RESTORER)};
		old->sa_sigaction = was.function;
		memcpy(&old->sa_mask, &was.mask, sizeof(was.mask));
	}
	return 0;
}

/* Of the thread between fault_begin and fault_end. */
static struct {
	long thread;
	volatile sig_atomic_t is_trying;
	const struct fault_state *state;
	sigjmp_buf back;
} fault;

/* A fault of another thread happens again, with the handler that was there before. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (fault.is_trying && RAW(gettid) == fault.thread)
		siglongjmp(fault.back, 1);
	handler_restore(signal, signal == SIGSEGV ? &fault.state->segv : &fault.state->bus);
}

/* SA_NODEFER: they stay unblocked, also behind the jump. */
void fault_begin(struct fault_state *state)
{
	uint64_t all = ~(SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS));

	fault.thread = RAW(gettid);
	fault.state = state;
	RAW(rt_sigprocmask, SIG_SETMASK, &all, &state->mask, KERNEL_MASK_SIZE);
	handler_set(SIGSEGV, on_fault, SA_NODEFER, &state->segv);
	handler_set(SIGBUS, on_fault, SA_NODEFER, &state->bus);
}

bool fault_try(void (*function)(void *arg), void *arg)
{
	if (sigsetjmp(fault.back, 0)) {
		fault.is_trying = 0;
		return false;
	}
	fault.is_trying = 1;
	function(arg);
	fault.is_trying = 0;
	return true;
}

void fault_end(const struct fault_state *state)
{
	handler_restore(SIGSEGV, &state->segv);
	handler_restore(SIGBUS, &state->bus);
	RAW(rt_sigprocmask, SIG_SETMASK, &state->mask, NULL, KERNEL_MASK_SIZE);
}
