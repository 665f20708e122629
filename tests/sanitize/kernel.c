// SPDX-License-Identifier: BSD-3-Clause

/*
 * The library enters the kernel itself, and the sanitizers want to know of mappings: those go
 * through libc here. Linked with -Wl,--wrap=kernel_call.
 */

#include <sys/mman.h>
#include <sys/syscall.h>

long __real_kernel_call(long number, long a, long b, long c, long d, long e, long f);
long __wrap_kernel_call(long number, long a, long b, long c, long d, long e, long f);

long __wrap_kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	switch (number) {
	case SYS_mmap:
		return (long)mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);
	case SYS_munmap:
		return munmap((void *)a, (size_t)b);
	case SYS_mremap:
		return (long)mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e);
	case SYS_madvise:
		return madvise((void *)a, (size_t)b, (int)c);
	case SYS_mprotect:
		return mprotect((void *)a, (size_t)b, (int)c);
	default:
		return __real_kernel_call(number, a, b, c, d, e, f);
	}
}
