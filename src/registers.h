/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Registers and stacks of the processor, as unwinders and signal handlers need them. arch.h has
 * everything else.
 */

#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

/*
 * The registers of a frame that a step to its caller needs. other is the one that the caller may
 * be found by, besides the stack pointer and the frame pointer: rbx, or the return address of the
 * caller while that is in a register.
 */
struct registers {
	uintptr_t pc, sp, fp, other;
};

/*
 * For each processor:
 *	REGISTERS_SP, _FP, _OTHER, _RETURN: DWARF's numbers of these and of the return address
 *	REGISTERS_RECORD: where the frame pointer points, relative to the caller's frame pointer and
 *	return address, two words
 *	REGISTERS_RECORD_IS_LAST: whether these two words are the last of their frame
 *	REGISTERS_CONTEXT: from the stack pointer behind a signal handler to its ucontext_t
 *	registers_take: the caller's own
 *	registers_interrupted: those of code that a signal interrupted
 *	registers_end: where the context ends, with floating-point registers
 *	registers_access: whether the fault that raised the signal was a read or a write
 *	registers_strip: a return address without the bits that authenticate it
 *	registers_is_call: whether the instruction before address is a call; 8 bytes can be read
 *	registers_is_return: whether code, 16 bytes, is what a signal handler returns to
 */

enum registers_access {
	REGISTERS_READ,
	REGISTERS_WRITE,
	REGISTERS_UNKNOWN,
};

#if defined(__x86_64__)

#define REGISTERS_KNOWN 1

enum {
	REGISTERS_OTHER = 3,
	REGISTERS_FP = 6,
	REGISTERS_SP = 7,
	REGISTERS_RETURN = 16,
	REGISTERS_RECORD = 0,
	REGISTERS_RECORD_IS_LAST = 1,
	REGISTERS_CONTEXT = 0,
};

static inline __attribute__((always_inline)) void registers_take(struct registers *r)
{
	__asm__ volatile("leaq 0(%%rip), %%rax\n\t"
			 "movq %%rax, %0\n\t"
			 "movq %%rsp, %1\n\t"
			 "movq %%rbp, %2\n\t"
			 "movq %%rbx, %3"
			 : "=m"(r->pc), "=m"(r->sp), "=m"(r->fp), "=m"(r->other)
			 :
			 : "rax");
}

static inline struct registers registers_interrupted(const ucontext_t *context)
{
	const greg_t *all = context->uc_mcontext.gregs;

	return (struct registers){.pc = (uintptr_t)all[REG_RIP],
				  .sp = (uintptr_t)all[REG_RSP],
				  .fp = (uintptr_t)all[REG_RBP],
				  .other = (uintptr_t)all[REG_RBX]};
}

static inline uintptr_t registers_end(const ucontext_t *context)
{
	fpregset_t last = context->uc_mcontext.fpregs;

	return last ? (uintptr_t)(last + 1) : (uintptr_t)(context + 1);
}

/* Bit 1 of the error code of a page fault: a write. */
static inline enum registers_access registers_access(const ucontext_t *context)
{
	return context->uc_mcontext.gregs[REG_ERR] & 2 ? REGISTERS_WRITE : REGISTERS_READ;
}

static inline uintptr_t registers_strip(uintptr_t address)
{
	return address;
}

/* Calls have two to seven bytes. */
static inline bool registers_is_call(uintptr_t address)
{
	const unsigned char *at = (const unsigned char *)address;

	if (at[-5] == 0xe8) /* relative */
		return true;
	for (int i = 2; i <= 7; i++)
		if (at[-i] == 0xff && (at[1 - i] & 0x38) == 0x10) /* indirect */
			return true;
	return false;
}

/* mov $15, %rax; syscall */
static inline bool registers_is_return(const void *code)
{
	return !memcmp(code, "\x48\xc7\xc0\x0f\0\0\0\x0f\x05", 9);
}

#else

static inline uintptr_t registers_end(const ucontext_t *context)
{
	return (uintptr_t)(context + 1);
}

#if defined(__aarch64__)

#define REGISTERS_KNOWN 1

enum {
	REGISTERS_FP = 29,
	REGISTERS_OTHER = 30,
	REGISTERS_SP = 31,
	REGISTERS_RETURN = REGISTERS_OTHER,
	REGISTERS_RECORD = 0,
	REGISTERS_RECORD_IS_LAST = 0,
	REGISTERS_CONTEXT = sizeof(siginfo_t),
};

static inline __attribute__((always_inline)) void registers_take(struct registers *r)
{
	__asm__ volatile("adr x9, .\n\t"
			 "str x9, %0\n\t"
			 "mov x9, sp\n\t"
			 "str x9, %1\n\t"
			 "str x29, %2\n\t"
			 "str x30, %3"
			 : "=m"(r->pc), "=m"(r->sp), "=m"(r->fp), "=m"(r->other)
			 :
			 : "x9");
}

static inline struct registers registers_interrupted(const ucontext_t *context)
{
	const mcontext_t *all = &context->uc_mcontext;

	return (struct registers){.pc = (uintptr_t)all->pc,
				  .sp = (uintptr_t)all->sp,
				  .fp = (uintptr_t)all->regs[REGISTERS_FP],
				  .other = (uintptr_t)all->regs[REGISTERS_OTHER]};
}

/* The kernel appends records to the context. One has the syndrome, bit 6 of which is a write. */
static inline enum registers_access registers_access(const ucontext_t *context)
{
	struct {
		uint32_t magic, size;
		uint64_t syndrome;
	} record;
	const unsigned char *at = context->uc_mcontext.__reserved;
	const unsigned char *end = at + sizeof(context->uc_mcontext.__reserved);

	for (; at + sizeof(record) <= end; at += record.size) {
		memcpy(&record, at, sizeof(record));
		if (record.magic == 0x45535201)
			return record.syndrome & 64 ? REGISTERS_WRITE : REGISTERS_READ;
		if (record.size < 8)
			break;
	}
	return REGISTERS_UNKNOWN;
}

/* xpaclri, which does nothing on processors without authentication. */
static inline uintptr_t registers_strip(uintptr_t address)
{
	register uintptr_t x30 __asm__("x30") = address;

	__asm__("hint #7" : "+r"(x30));
	return x30;
}

/* bl; blr, also with authentication */
static inline bool registers_is_call(uintptr_t address)
{
	uint32_t before;

	memcpy(&before, (const void *)(address - sizeof(before)), sizeof(before));
	return before >> 26 == 0x25 || (before & 0xfefff000) == 0xd63f0000;
}

/* mov x8, #139; svc #0 */
static inline bool registers_is_return(const void *code)
{
	return !memcmp(code, "\x68\x11\x80\xd2\x01\0\0\xd4", 8);
}

#elif defined(__riscv) && __riscv_xlen == 64

#define REGISTERS_KNOWN 1

enum {
	REGISTERS_OTHER = 1,
	REGISTERS_SP = 2,
	REGISTERS_FP = 8,
	REGISTERS_RETURN = REGISTERS_OTHER,
	REGISTERS_RECORD = 16,
	REGISTERS_RECORD_IS_LAST = 1,
	REGISTERS_CONTEXT = sizeof(siginfo_t),
};

static inline __attribute__((always_inline)) void registers_take(struct registers *r)
{
	__asm__ volatile("auipc t0, 0\n\t"
			 "sd t0, %0\n\t"
			 "sd sp, %1\n\t"
			 "sd s0, %2\n\t"
			 "sd ra, %3"
			 : "=m"(r->pc), "=m"(r->sp), "=m"(r->fp), "=m"(r->other)
			 :
			 : "t0");
}

/* The kernel's context starts with the program counter, in the place of x0. */
static inline struct registers registers_interrupted(const ucontext_t *context)
{
	const unsigned long *all = context->uc_mcontext.__gregs;

	return (struct registers){.pc = all[0],
				  .sp = all[REGISTERS_SP],
				  .fp = all[REGISTERS_FP],
				  .other = all[REGISTERS_OTHER]};
}

/* The kernel does not tell. The instruction, which can be read, does. */
static inline enum registers_access registers_access(const ucontext_t *context)
{
	const void *pc = (const void *)context->uc_mcontext.__gregs[0];
	uint16_t code;

	memcpy(&code, pc, sizeof(code));
	if ((code & 3) == 3) /* bit 5: store, or atomic */
		return code & 0x20 ? REGISTERS_WRITE : REGISTERS_READ;
	return code & 0x8000 ? REGISTERS_WRITE : REGISTERS_READ;
}

static inline uintptr_t registers_strip(uintptr_t address)
{
	return address;
}

/* jal and jalr that set ra; c.jalr */
static inline bool registers_is_call(uintptr_t address)
{
	uint16_t code[2];

	memcpy(code, (const void *)(address - sizeof(code)), sizeof(code));
	return (code[0] & 0xfff) == 0x0ef || (code[0] & 0xfff) == 0x0e7 ||
	       ((code[1] & 0xf07f) == 0x9002 && code[1] & 0xf80);
}

/* li a7, 139; ecall */
static inline bool registers_is_return(const void *code)
{
	return !memcmp(code, "\x93\x08\xb0\x08\x73\0\0\0", 8);
}

#else

/* Nothing is known: no stacks can be taken. */
#define REGISTERS_KNOWN 0

enum {
	REGISTERS_SP,
	REGISTERS_FP,
	REGISTERS_OTHER,
	REGISTERS_RETURN = REGISTERS_OTHER,
	REGISTERS_RECORD = 0,
	REGISTERS_RECORD_IS_LAST = 1,
	REGISTERS_CONTEXT = 0,
};

static inline void registers_take(struct registers *r)
{
	*r = (struct registers){0};
}

static inline struct registers registers_interrupted(const ucontext_t *context)
{
	return (struct registers){.sp = (uintptr_t)context};
}

static inline enum registers_access registers_access(const ucontext_t *context)
{
	(void)context;
	return REGISTERS_UNKNOWN;
}

static inline uintptr_t registers_strip(uintptr_t address)
{
	return address;
}

static inline bool registers_is_call(uintptr_t address)
{
	return !address;
}

static inline bool registers_is_return(const void *code)
{
	return !code;
}

#endif
#endif
