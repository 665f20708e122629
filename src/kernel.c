// SPDX-License-Identifier: BSD-3-Clause

#include "kernel.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "arch.h"
#include "elf_symbol.h"

#define ERRNO_MAX 4095 /* the kernel returns errors as -1 to -ERRNO_MAX */

typedef int clock_function(clockid_t clock, struct timespec *now);

long kernel_raw(long number, long a, long b, long c, long d, long e, long f)
{
	return arch_call_kernel(number, a, b, c, d, e, f);
}

long kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result = kernel_raw(number, a, b, c, d, e, f);

	if ((unsigned long)result < (unsigned long)-ERRNO_MAX)
		return result;
	errno = (int)-result;
	return -1;
}

static int ask_clock(clockid_t clock, struct timespec *now)
{
	return (int)kernel_call(SYS_clock_gettime, clock, (long)now, 0, 0, 0, 0);
}

static clock_function *find_clock(void)
{
	/* Not const: .rodata would cost another page. */
	static char names[2][24] = {"__vdso_clock_gettime", "__kernel_clock_gettime"};
	void *found = elf_vdso_symbol(names[0]);

	if (!found)
		found = elf_vdso_symbol(names[1]);
	return found ? (clock_function *)(uintptr_t)found : ask_clock;
}

int kernel_clock(clockid_t clock, struct timespec *now)
{
	static _Atomic(clock_function *) function;
	clock_function *f = atomic_load_explicit(&function, memory_order_relaxed);

	if (!f) { /* a race is harmless: all threads find the same function */
		f = find_clock();
		atomic_store_explicit(&function, f, memory_order_relaxed);
	}
	return f(clock, now) == 0 ? 0 : ask_clock(clock, now);
}
