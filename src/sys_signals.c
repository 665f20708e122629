// SPDX-License-Identifier: BSD-3-Clause

#include "sys_signals.h"

#include <string.h>
#include <ucontext.h>

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

#ifdef __x86_64__

#define UNUSED __attribute__((unused)) /* for the compiler, which does not read the text */

__attribute__((naked, noinline)) static void
call_on(UNUSED void *top, UNUSED void (*function)(void *arg), UNUSED void *arg)
{
	/* An unwinder finds the frame by rbp, which function preserves. */
	__asm__("pushq %rbp\n"
		".cfi_adjust_cfa_offset 8\n"
		".cfi_rel_offset rbp, 0\n"
		"movq %rsp, %rbp\n"
		".cfi_def_cfa_register rbp\n"
		"movq %rdi, %rsp\n"
		"movq %rdx, %rdi\n"
		"call *%rsi\n"
		"movq %rbp, %rsp\n"
		"popq %rbp\n"
		".cfi_def_cfa rsp, 8\n"
		"ret\n");
}

void signals_call_on(void *top, void (*function)(void *arg), void *arg)
{
	call_on(top, function, arg);
}

struct signals_fault signals_get_fault(const void *context)
{
	const ucontext_t *c = context;

	/* Bit 1 of the error code of a page fault: a write. */
	return (struct signals_fault){
		.instruction = (uintptr_t)c->uc_mcontext.gregs[REG_RIP],
		.is_write = c->uc_mcontext.gregs[REG_ERR] & 2,
	};
}

#else

void signals_call_on(void *top, void (*function)(void *arg), void *arg)
{
	(void)top;
	function(arg);
}

struct signals_fault signals_get_fault(const void *context)
{
	(void)context;
	return (struct signals_fault){0};
}

#endif
