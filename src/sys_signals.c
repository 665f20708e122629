// SPDX-License-Identifier: BSD-3-Clause

#include "sys_signals.h"

#include "helpers.h"
#include "kernel.h"

uint64_t signals_block(void)
{
	uint64_t all = ~UINT64_C(0), old = 0;

	RAW(rt_sigprocmask, SIG_SETMASK, &all, &old, KERNEL_MASK_SIZE);
	return old;
}

void signals_restore(uint64_t mask)
{
	RAW(rt_sigprocmask, SIG_SETMASK, &mask, NULL, KERNEL_MASK_SIZE);
}

void signals_send(int signal)
{
	RAW(kill, RAW(getpid), signal);
}

void signals_resend(siginfo_t *info)
{
	RAW(rt_tgsigqueueinfo, sys_process(), RAW(gettid), info->si_signo, info);
}

struct signals_fault signals_get_fault(const void *context)
{
	struct registers r = registers_interrupted(context);

	/* The instruction itself may be what cannot be read. */
	return (struct signals_fault){
		.instruction = r.pc,
		.access = sys_is_readable((const void *)r.pc) ? registers_access(context)
							      : REGISTERS_UNKNOWN,
	};
}
