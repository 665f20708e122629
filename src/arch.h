/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What differs between processors: x86_64, aarch64 and riscv64. Other processors get what the C
 * library and the compiler offer. registers.h has what concerns stacks.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * For each processor:
 *	ARCH_MAP_MAX: the kernel maps nothing above this without a hint, not even with five levels
 *	of page tables
 *	arch_call_kernel: a system call, which returns errors as -errno
 *	arch_pause: wait a little in a loop that waits for another thread
 *	arch_as_result: p, in the register of a function's result, which saves a move
 *	arch_add: *at += n, in one instruction if possible: the first access to a fresh page is then
 *	a write, which faults once
 *	arch_exchange: as atomic_compare_exchange_strong, of 16 bits
 *	ARCH_RESTORER: the flag of a signal handler that returns to arch_restore; 0: it returns to
 *	the kernel's code
 *	ARCH_HAS_RESTORER: whether the kernel's struct sigaction has a place for that
 */

#if !defined(__riscv)

static inline bool arch_exchange(_Atomic(uint16_t) *at, uint16_t *old, uint16_t new)
{
	return atomic_compare_exchange_strong(at, old, new);
}

#endif

#if defined(__x86_64__)

#define ARCH_MAP_MAX ((size_t)1 << 47)
#define ARCH_RESTORER 0x04000000ul
#define ARCH_HAS_RESTORER 1

static inline long arch_call_kernel(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static inline void arch_pause(void)
{
	__builtin_ia32_pause();
}

static inline __attribute__((always_inline)) void *arch_as_result(void *p)
{
	__asm__("" : "+a"(p));
	return p;
}

static inline __attribute__((always_inline)) void arch_add(_Atomic(uint64_t) *at, uint64_t n)
{
	__asm__("addq %1, %0" : "+m"(*at) : "r"(n) : "cc", "memory");
}

#else

#define ARCH_MAP_MAX ((size_t)1 << 48)
#define ARCH_RESTORER 0ul

static inline void *arch_as_result(void *p)
{
	return p;
}

/* An atomic addition costs more than the fault that it would save. */
static inline void arch_add(_Atomic(uint64_t) *at, uint64_t n)
{
	uint64_t old = atomic_load_explicit(at, memory_order_relaxed);

	atomic_store_explicit(at, old + n, memory_order_relaxed);
}

#if defined(__aarch64__)

#define ARCH_HAS_RESTORER 1

static inline long arch_call_kernel(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

/* isb: yield does nothing on most processors. */
static inline void arch_pause(void)
{
	__asm__ volatile("isb" ::: "memory");
}

#elif defined(__riscv) && __riscv_xlen == 64

#define ARCH_HAS_RESTORER 0

/* By its 32 bits: compilers without an extension call a library for less. */
static inline bool arch_exchange(_Atomic(uint16_t) *at, uint16_t *old, uint16_t new)
{
	_Atomic(uint32_t) *both = (_Atomic(uint32_t) *)((uintptr_t)at & ~(uintptr_t)3);
	unsigned int shift = (uintptr_t)at % 4 * 8;
	uint32_t word = atomic_load_explicit(both, memory_order_relaxed), wanted;

	do {
		if ((uint16_t)(word >> shift) != *old) {
			*old = (uint16_t)(word >> shift);
			return false;
		}
		wanted = (word & ~(UINT32_C(0xffff) << shift)) | (uint32_t) new << shift;
	} while (!atomic_compare_exchange_weak(both, &word, wanted));
	return true;
}

static inline long arch_call_kernel(long number, long a, long b, long c, long d, long e, long f)
{
	register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c, a3 __asm__("a3") = d, a4 __asm__("a4") = e;
	register long a5 __asm__("a5") = f;

	__asm__ volatile("ecall"
			 : "+r"(a0)
			 : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5)
			 : "memory");
	return a0;
}

/* The pause instruction, in a form that assemblers without its extension know. */
static inline void arch_pause(void)
{
	__asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010" ::: "memory");
}

#else

#include <errno.h>
#include <unistd.h>

#define ARCH_HAS_RESTORER 1 /* most have one */

static inline long arch_call_kernel(long number, long a, long b, long c, long d, long e, long f)
{
	int saved_errno = errno;
	long result = syscall(number, a, b, c, d, e, f);

	result = result == -1 ? -errno : result;
	errno = saved_errno;
	return result;
}

static inline void arch_pause(void)
{
}

#endif
#endif

/* Only where ARCH_RESTORER is not 0. */
void arch_restore(void);

/*
 * Call function(arg) on another stack, which grows down from top, a multiple of 16. On processors
 * that are not known it stays on this stack.
 */
void arch_call_on(void *top, void (*function)(void *arg), void *arg);
