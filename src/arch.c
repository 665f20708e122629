// SPDX-License-Identifier: BSD-3-Clause

/* Functions of arch.h that no C expresses. An unwinder finds their frames. */

#include "arch.h"

#define FUNCTION(name, body)                                                                       \
	__asm__(".pushsection .text\n"                                                             \
		".globl " #name "\n"                                                               \
		".hidden " #name "\n"                                                              \
		".type " #name ", %function\n"                                                     \
		".balign 16\n" #name ":\n" body ".size " #name ", . - " #name "\n"                 \
		".popsection")

#if defined(__x86_64__)

/* Unwinders know these very bytes. */
FUNCTION(arch_restore, "movq $15, %rax\n"
		       "syscall\n");

FUNCTION(arch_call_on, ".cfi_startproc\n"
		       "pushq %rbp\n"
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
		       "ret\n"
		       ".cfi_endproc\n");

#elif defined(__aarch64__)

FUNCTION(arch_call_on, ".cfi_startproc\n"
		       "stp x29, x30, [sp, #-16]!\n"
		       ".cfi_adjust_cfa_offset 16\n"
		       ".cfi_rel_offset x29, 0\n"
		       ".cfi_rel_offset x30, 8\n"
		       "mov x29, sp\n"
		       ".cfi_def_cfa_register x29\n"
		       "mov sp, x0\n"
		       "mov x0, x2\n"
		       "blr x1\n"
		       "mov sp, x29\n"
		       ".cfi_def_cfa_register sp\n"
		       "ldp x29, x30, [sp], #16\n"
		       ".cfi_def_cfa_offset 0\n"
		       ".cfi_restore x29\n"
		       ".cfi_restore x30\n"
		       "ret\n"
		       ".cfi_endproc\n");

#elif defined(__riscv) && __riscv_xlen == 64

FUNCTION(arch_call_on, ".cfi_startproc\n"
		       "addi sp, sp, -16\n"
		       ".cfi_adjust_cfa_offset 16\n"
		       "sd ra, 8(sp)\n"
		       ".cfi_rel_offset ra, 8\n"
		       "sd s0, 0(sp)\n"
		       ".cfi_rel_offset s0, 0\n"
		       "addi s0, sp, 16\n"
		       ".cfi_def_cfa s0, 0\n"
		       "mv sp, a0\n"
		       "mv a0, a2\n"
		       "jalr a1\n"
		       "addi sp, s0, -16\n"
		       ".cfi_def_cfa sp, 16\n"
		       "ld ra, 8(sp)\n"
		       "ld s0, 0(sp)\n"
		       "addi sp, sp, 16\n"
		       ".cfi_def_cfa_offset 0\n"
		       ".cfi_restore ra\n"
		       ".cfi_restore s0\n"
		       "ret\n"
		       ".cfi_endproc\n");

#else

void arch_call_on(void *top, void (*function)(void *arg), void *arg)
{
	(void)top;
	function(arg);
}

#endif
