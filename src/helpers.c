// SPDX-License-Identifier: BSD-3-Clause

#include "helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "printf.h"

#define FALLBACK_PAGE_SIZE ((size_t)4096)
#define KEPT_STDERR_MIN 500 /* out of the way of programs that count on low numbers */

static int kept_stderr = -1;

/* A mapping, at its start, that the kernel did not take back. */
struct unreleased {
	struct unreleased *next;
	size_t size;
};

/* Whole at every moment: a fork may copy it. */
static _Atomic(struct unreleased *) unreleased;

size_t sys_page_size(void)
{
	size_t size = getauxval(AT_PAGESZ);

	return size ? size : FALLBACK_PAGE_SIZE;
}

char *sys_break(void)
{
	void *p = sbrk(0);

	return (intptr_t)p == -1 ? NULL : p;
}

char *sys_raise_break(size_t size)
{
	void *p;

	if (size > PTRDIFF_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	p = sbrk((intptr_t)size);
	if ((intptr_t)p != -1)
		return p;
	errno = ENOMEM;
	return NULL;
}

void *sys_map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p != MAP_FAILED)
		return p;
	errno = ENOMEM; /* whatever limit it was: EAGAIN for locked memory, EPERM for a filter */
	return NULL;
}

void *sys_map_at(void *at, size_t size)
{
	void *p = mmap(at, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == at)
		return p;
	if (p != MAP_FAILED) { /* a kernel before 4.17 takes the place for a hint */
		sys_release(p, size);
		errno = EEXIST;
	} else if (errno != EEXIST) {
		errno = ENOMEM;
	}
	return NULL;
}

int sys_unmap(void *p, size_t size)
{
	return munmap(p, size);
}

static bool release(void *p, size_t size)
{
	struct unreleased *rest = p;

	if (munmap(p, size) == 0)
		return true;
	size = (size + sys_page_size() - 1) & ~(sys_page_size() - 1);
	madvise(p, size, MADV_DONTNEED);
	rest->size = size;
	rest->next = atomic_load(&unreleased);
	while (!atomic_compare_exchange_weak(&unreleased, &rest->next, rest))
		;
	return false;
}

void sys_release(void *p, size_t size)
{
	int saved_errno = errno;

	release(p, size);
	errno = saved_errno;
}

bool sys_release_rest(void)
{
	struct unreleased *rest, *next;
	bool is_any = false;

	if (!atomic_load_explicit(&unreleased, memory_order_relaxed))
		return false;
	for (rest = atomic_exchange(&unreleased, NULL); rest; rest = next) {
		next = rest->next;
		is_any |= release(rest, rest->size);
	}
	return is_any;
}

void *sys_remap(void *p, size_t old_size, size_t new_size)
{
	void *q = mremap(p, old_size, new_size, MREMAP_MAYMOVE);

	if (q != MAP_FAILED)
		return q;
	errno = ENOMEM;
	return NULL;
}

int sys_purge(void *p, size_t size)
{
	return madvise(p, size, MADV_DONTNEED);
}

uint64_t sys_secret(void)
{
	unsigned long random = getauxval(AT_RANDOM); /* the address of 16 random bytes */
	uint64_t secret[2] = {(uintptr_t)&random, (uintptr_t)environ};

	if (random)
		memcpy(secret, (const void *)random, sizeof(secret));
	/* libc takes its own secrets from the same bytes: hand out none of them as they are. */
	return (secret[0] ^ secret[1] << 1) * 0x9e3779b97f4a7c15u + 1;
}

uint64_t sys_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void write_all(int fd, const char *text, size_t len)
{
	int saved_errno = errno;

	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		text += n;
		len -= (size_t)n;
	}
	errno = saved_errno;
}

void sys_print(const char *text, size_t len)
{
	write_all(kept_stderr >= 0 ? kept_stderr : STDERR_FILENO, text, len);
}

void sys_keep_stderr(void)
{
	kept_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, KEPT_STDERR_MIN);
}

/*
 * printf.c of a course may leave this one to its user. Ours has it too, and so has a program that
 * sends its output elsewhere: both definitions here are weak.
 */
__attribute__((weak)) void _putchar(char character)
{
	write_all(STDOUT_FILENO, &character, 1);
}

void sys_fatal(const char *call, const void *p, const char *what, ...)
{
	char line[256];
	va_list args;
	int n;

	/* Not %p: what a course's printf.c makes of it differs. */
	n = snprintf_(line, sizeof(line), "osmem: %s(0x%lx): ", call, (unsigned long)(uintptr_t)p);
	va_start(args, what);
	n += vsnprintf_(line + n, sizeof(line) - 1 - (size_t)n, what, args);
	va_end(args);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n] = '\n';
	sys_print(line, (size_t)n + 1);
	abort();
}
