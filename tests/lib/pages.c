// SPDX-License-Identifier: BSD-3-Clause

/*
 * A kernel whose pages have TEST_PAGE bytes, for libraries and programs that are linked with the
 * objects and -Wl,--wrap for getauxval and kernel_call. As a real one
 *
 * 1. it refuses addresses and offsets that are not multiples of its page with EINVAL, and rounds
 *    lengths up, so that what it unmaps, protects or purges is whole pages;
 * 2. it maps memory at multiples of its page;
 * 3. a page is in memory if any byte of it is; /proc/self/statm counts such pages.
 *
 * Without TEST_PAGE, or with the page size of the machine, it changes nothing. Calls that libc and
 * the tests make themselves are not its business. The break stays as it is, to the byte.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL_PAGE ((size_t)4096)

long paged_kernel_call(long number, long a, long b, long c, long d, long e, long f);
long __real_kernel_call(long number, long a, long b, long c, long d, long e, long f);
unsigned long __wrap_getauxval(unsigned long type);
unsigned long __real_getauxval(unsigned long type);
long __sysconf(int name);

static size_t page_bytes(void)
{
	static size_t bytes;
	const char *given = bytes ? NULL : getenv("TEST_PAGE");

	if (!bytes)
		bytes = given ? strtoul(given, NULL, 10) : REAL_PAGE;
	return bytes;
}

unsigned long __wrap_getauxval(unsigned long type)
{
	return type == AT_PAGESZ ? page_bytes() : __real_getauxval(type);
}

long sysconf(int name)
{
	return name == _SC_PAGESIZE ? (long)page_bytes() : __sysconf(name);
}

int getpagesize(void)
{
	return (int)page_bytes();
}

static bool is_odd(long value)
{
	return (size_t)value & (page_bytes() - 1);
}

static size_t whole_bytes(size_t size)
{
	return (size + page_bytes() - 1) & -page_bytes();
}

static long whole(long size)
{
	return (long)whole_bytes((size_t)size);
}

static long refuse_argument(void)
{
	errno = EINVAL;
	return -1;
}

static void unmap(long from, long to)
{
	if (from < to)
		__real_kernel_call(SYS_munmap, from, to - from, 0, 0, 0, 0);
}

/* Inaccessible memory at a multiple of the page; -1 with errno. */
static long reserve(long size)
{
	const long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	long most = size + (long)page_bytes() - (long)REAL_PAGE, p, start;

	p = __real_kernel_call(SYS_mmap, 0, most, PROT_NONE, flags, -1, 0);
	if (p == -1)
		return -1;
	start = whole(p);
	unmap(p, start);
	unmap(start + size, p + most);
	return start;
}

static long map(long at, long size, long access, long flags, long fd, long offset)
{
	long p;

	if (is_odd(offset) || (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) && is_odd(at)))
		return refuse_argument();
	p = __real_kernel_call(SYS_mmap, at, whole(size), access, flags, fd, offset);
	if (p == -1 || !is_odd(p))
		return p;
	unmap(p, p + whole(size));
	at = reserve(whole(size));
	if (at == -1)
		return -1;
	p = __real_kernel_call(SYS_mmap, at, whole(size), access, flags | MAP_FIXED, fd, offset);
	if (p == -1)
		unmap(at, at + whole(size));
	return p;
}

static long remap(long p, long old_size, long new_size, long flags, long to)
{
	long at, result;

	if (is_odd(p) || (flags & MREMAP_FIXED && is_odd(to)))
		return refuse_argument();
	old_size = whole(old_size);
	new_size = whole(new_size);
	if (flags & MREMAP_FIXED)
		return __real_kernel_call(SYS_mremap, p, old_size, new_size, flags, to, 0);
	result = __real_kernel_call(SYS_mremap, p, old_size, new_size, flags & ~MREMAP_MAYMOVE, 0,
				    0);
	if (result != -1 || !(flags & MREMAP_MAYMOVE))
		return result;
	at = reserve(new_size);
	if (at == -1)
		return -1;
	result = __real_kernel_call(SYS_mremap, p, old_size, new_size, flags | MREMAP_FIXED, at, 0);
	if (result == -1)
		unmap(at, at + new_size);
	return result;
}

static long tell_resident(long p, long size, unsigned char *resident)
{
	const size_t parts = page_bytes() / REAL_PAGE;

	if (is_odd(p))
		return refuse_argument();
	for (long at = 0; at < size; at += (long)page_bytes()) {
		unsigned char part[parts], *in = &resident[(size_t)at / page_bytes()];

		if (__real_kernel_call(SYS_mincore, p + at, (long)page_bytes(), (long)part, 0, 0,
				       0) == -1)
			return -1;
		*in = 0;
		for (size_t i = 0; i < parts; i++)
			*in |= part[i] & 1;
	}
	return 0;
}

static int statm = -1; /* the file, while it is open */

static long open_file(long folder, long path, long flags, long mode)
{
	long fd = __real_kernel_call(SYS_openat, folder, path, flags, mode, 0, 0);

	if (strcmp((const char *)path, "/proc/self/statm") == 0)
		statm = (int)fd;
	return fd;
}

/* Convert the figures of statm, in place: they become no longer. */
static long read_statm(char *text, long size)
{
	long n = __real_kernel_call(SYS_read, statm, (long)text, size, 0, 0, 0);
	char *end = text + (n > 0 ? n : 0), *to = text, *next;

	statm = -1;
	for (const char *at = text; at < end;) {
		size_t pages = strtoul(at, &next, 10);

		at = next;
		to += sprintf(to, "%zu", whole_bytes(pages * REAL_PAGE) / page_bytes());
		while (at < end && (*at < '0' || *at > '9'))
			*to++ = *at++;
	}
	return to - text;
}

long paged_kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	if (page_bytes() == REAL_PAGE)
		return __real_kernel_call(number, a, b, c, d, e, f);
	switch (number) {
	case SYS_mmap:
		return map(a, b, c, d, e, f);
	case SYS_mremap:
		return remap(a, b, c, d, e);
	case SYS_mincore:
		return tell_resident(a, b, (unsigned char *)c);
	case SYS_openat:
		return open_file(a, b, c, d);
	case SYS_read:
		if (a == statm)
			return read_statm((char *)b, c);
		break;
	case SYS_munmap:
	case SYS_mprotect:
	case SYS_madvise:
	case SYS_mlock:
	case SYS_mlock2:
	case SYS_munlock:
		if (is_odd(a))
			return refuse_argument();
		b = whole(b);
		break;
	default:
		break;
	}
	return __real_kernel_call(number, a, b, c, d, e, f);
}
