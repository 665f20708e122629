// SPDX-License-Identifier: BSD-3-Clause

#include "helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "canary.h"
#include "compat.h"
#include "hash.h"
#include "kernel.h"
#include "printf.h"

#define FALLBACK_PAGE_SIZE ((size_t)4096)
#define STACK_ROOM_MIN (128 * MIB)
#define STACK_GAP MIB /* the kernel keeps it free below a stack */

void (*sys_observer)(enum sys_event event, uint64_t a, uint64_t b, uint64_t c, bool failed);

struct canary_key canary_key; /* written by quarantine.c */

static _Atomic(size_t) counts[SYS_EVENTS];

/* At the start of a mapping that the kernel refused to unmap. */
struct unreleased {
	struct unreleased *next;
	size_t size;
};

/* Consistent after each store, because a fork may copy it. */
static _Atomic(struct unreleased *) unreleased;

/* Private anonymous memory, or NULL with errno. */
static void *map_private(void *at, size_t size, int access, int flags)
{
	void *p = (void *)CALL(mmap, at, size, access, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1);

	return p == MAP_FAILED ? NULL : p;
}

/* Of madvise, for all mappings of sys_map and its relatives; or 0. */
static _Atomic(int) page_advice;

bool sys_set_huge_pages(enum sys_huge_pages wanted)
{
	static const int advices[] = {0, MADV_HUGEPAGE, MADV_NOHUGEPAGE};
	size_t page = sys_page_size();
	void *p = sys_map(page);
	bool is_known = !wanted || !p || CALL(madvise, p, page, advices[wanted]) == 0;

	if (p)
		sys_release(p, page);
	if (is_known)
		page_advice = advices[wanted];
	return is_known;
}

bool sys_wants_huge_pages(void)
{
	return atomic_load_explicit(&page_advice, memory_order_relaxed) == MADV_HUGEPAGE;
}

void sys_advise_pages(void *p, size_t size)
{
	int saved_errno = errno, advice = atomic_load_explicit(&page_advice, memory_order_relaxed);

	if (advice && p)
		CALL(madvise, p, size, advice);
	errno = saved_errno;
}

static void report(enum sys_event event, const void *a, uint64_t b, uint64_t c, bool failed)
{
	atomic_fetch_add_explicit(&counts[event], 1, memory_order_relaxed);
	if (sys_observer)
		sys_observer(event, (uintptr_t)a, b, c, failed);
}

size_t sys_count(enum sys_event event)
{
	return atomic_load_explicit(&counts[event], memory_order_relaxed);
}

size_t sys_page_size(void)
{
	static _Atomic(size_t) page_size;
	size_t size = atomic_load_explicit(&page_size, memory_order_relaxed);

	if (__builtin_expect(!size, 0)) {
		size = getauxval(AT_PAGESZ);
		size = size ? size : FALLBACK_PAGE_SIZE;
		atomic_store_explicit(&page_size, size, memory_order_relaxed);
	}
	return size;
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
	if ((intptr_t)p != -1) {
		report(SYS_BRK, p, (uintptr_t)p + size, 0, false);
		return p;
	}
	report(SYS_BRK, NULL, size, 0, true);
	errno = ENOMEM;
	return NULL;
}

void *sys_map(size_t size)
{
	void *p = map_private(NULL, size, PROT_READ | PROT_WRITE, 0);

	report(SYS_MMAP, p, size, 0, !p);
	sys_advise_pages(p, size);
	if (!p)
		errno = ENOMEM; /* not EAGAIN (locked memory) or EPERM (a system call filter) */
	return p;
}

void *sys_map_at(void *at, size_t size)
{
	void *p = map_private(at, size, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);

	report(SYS_MMAP, at, size, 0, p != at);
	sys_advise_pages(p, size);
	if (p == at)
		return p;
	if (p) { /* kernels before 4.17 treat the address as a hint */
		sys_release(p, size);
		errno = EEXIST;
	} else if (errno != EEXIST) {
		errno = ENOMEM;
	}
	return NULL;
}

static void release_edge(char *from, char *to)
{
	if (from < to)
		sys_release(from, (size_t)(to - from));
}

void *sys_map_aligned(size_t size, size_t align)
{
	char *p, *start;
	size_t total;

	if (align <= sys_page_size())
		return sys_map(size);
	if (__builtin_add_overflow(size, align, &total) || total > PTRDIFF_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	p = sys_map(total);
	if (!p)
		return NULL;
	start = (char *)round_up((uintptr_t)p, align);
	release_edge(p, start);
	release_edge(start + size, p + total);
	return start;
}

int sys_unmap(void *p, size_t size)
{
	int result = (int)CALL(munmap, p, size);

	report(SYS_MUNMAP, p, size, 0, result < 0);
	return result;
}

static bool release(void *p, size_t size)
{
	struct unreleased *rest = p;

	if (sys_unmap(p, size) == 0)
		return true;
	size = round_up(size, sys_page_size());
	sys_purge(p, size);
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
	void *q = (void *)CALL(mremap, p, old_size, new_size, MREMAP_MAYMOVE);

	report(SYS_MREMAP, p, q == MAP_FAILED ? 0 : (uintptr_t)q, new_size, q == MAP_FAILED);
	if (q != MAP_FAILED)
		return q;
	errno = ENOMEM;
	return NULL;
}

int sys_move(void *p, size_t old_size, void *to, size_t new_size)
{
	int how = MREMAP_MAYMOVE | MREMAP_FIXED | (old_size == new_size ? MREMAP_DONTUNMAP : 0);
	int saved_errno = errno;
	bool failed = CALL(mremap, p, old_size, new_size, how, to) < 0;

	errno = saved_errno;
	report(SYS_MREMAP, p, failed ? 0 : (uintptr_t)to, new_size, failed);
	return failed ? -1 : 0;
}

static int set_access(void *p, size_t size, int access)
{
	int saved_errno = errno, status = (int)CALL(mprotect, p, size, access);

	errno = saved_errno;
	return status;
}

int sys_protect(void *p, size_t size)
{
	return set_access(p, size, PROT_NONE);
}

int sys_unprotect(void *p, size_t size)
{
	return set_access(p, size, PROT_READ | PROT_WRITE);
}

void *sys_reserve(void *at, size_t size)
{
	int saved_errno = errno;
	void *p = map_private(at, size, PROT_NONE, MAP_NORESERVE | (at ? MAP_FIXED_NOREPLACE : 0));

	errno = saved_errno;
	return p;
}

int sys_discard(void *p, size_t size)
{
	int saved_errno = errno;
	void *q = map_private(p, size, PROT_NONE, MAP_NORESERVE | MAP_FIXED);

	errno = saved_errno;
	return q ? 0 : -1;
}

int sys_purge(void *p, size_t size)
{
	int result = (int)CALL(madvise, p, size, MADV_DONTNEED);

	report(SYS_MADVISE, p, size, 0, result < 0);
	return result;
}

int sys_purge_apart(void *p, size_t size, size_t *left)
{
	size_t step = size > SYS_PURGE_PIECE ? SYS_PURGE_PIECE : sys_page_size();
	int result = 0;

	if (sys_purge(p, size) == 0)
		return 0;
	if (size <= step || (step < SYS_PURGE_PIECE && !*left))
		return -1;
	if (step < SYS_PURGE_PIECE)
		--*left;
	for (size_t at = 0; at < size; at += step)
		result |=
			sys_purge_apart((char *)p + at, size - at < step ? size - at : step, left);
	return result;
}

/*
 * The stack ends at the name of the program. The kernel keeps the stack limit free below it, and at
 * least 128 MiB, because the limit may still be raised. Without a limit it keeps up to a third of
 * the addresses free, down to where programs are loaded.
 */
struct sys_room sys_stack_room(void)
{
	uintptr_t page = sys_page_size(), name = getauxval(AT_EXECFN);
	uintptr_t end = (name + page) & ~(page - 1);
	size_t size = STACK_ROOM_MIN;
	struct rlimit limit;

	if (!name)
		return (struct sys_room){0};
	if (CALL(prlimit64, 0, RLIMIT_STACK, NULL, &limit) == 0 && limit.rlim_cur > size)
		size = limit.rlim_cur;
	if (size > end / 3 - STACK_GAP)
		size = end / 3 - STACK_GAP;
	return (struct sys_room){.start = end - size - STACK_GAP, .end = end};
}

const char *sys_options(void)
{
	static char name[] = "OSMEM_OPTIONS"; /* not const: .rodata would cost another page */

	return secure_getenv(name);
}

uint64_t sys_secret(void)
{
	unsigned long random = getauxval(AT_RANDOM); /* the address of 16 random bytes */
	uint64_t secret[2] = {(uintptr_t)&random, (uintptr_t)environ};

	if (random)
		memcpy(secret, (const void *)random, sizeof(secret));
	/* libc uses the same bytes for its own secrets, so do not reveal them unhashed. */
	return hash_fast(secret[0] ^ secret[1] << 1) + 1;
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;

	kernel_clock(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t sys_now_ms(void)
{
	return read_clock(CLOCK_MONOTONIC_COARSE) / 1000000;
}

uint64_t sys_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t sys_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

void sys_sleep_on(_Atomic(uint32_t) *word, uint32_t value, long ns)
{
	struct timespec late = {0, ns};

	RAW(futex, word, COMPAT_FUTEX_WAIT, value, ns ? &late : NULL);
}

void sys_wake_one(_Atomic(uint32_t) *word)
{
	RAW(futex, word, COMPAT_FUTEX_WAKE, 1);
}

uint32_t sys_thread(void)
{
	clockid_t clock;

	/* The id of a thread's CPU clock contains the thread id, in the kernel's format. */
	if (pthread_getcpuclockid(pthread_self(), &clock) == 0)
		return (uint32_t) ~(clock >> 3);
	return (uint32_t)CALL(gettid);
}

uint32_t sys_process(void)
{
	return (uint32_t)CALL(getpid);
}

void sys_program(char *path, size_t size)
{
	long n = RAW(readlinkat, AT_FDCWD, "/proc/self/exe", path, size - 1);

	path[n < 0 ? 0 : n] = '\0';
}

/*
 * VmHWM of /proc/self/status, or 0. Without it, what getrusage tells is an upper bound: it includes
 * what the process was before it executed the program, as a copy of its parent.
 */
static size_t peak_of_program(void)
{
	static const char name[] = "\nVmHWM:";
	char text[1024], *at;
	size_t kib = 0;

	sys_read_text("/proc/self/status", text, sizeof(text));
	at = strstr(text, name);
	if (!at)
		return 0;
	at += strlen(name);
	while (*at == ' ' || *at == '\t')
		at++;
	for (; *at >= '0' && *at <= '9'; at++)
		kib = kib * 10 + (size_t)(*at - '0');
	return kib * KIB;
}

void sys_get_memory(struct sys_memory *memory)
{
	size_t pages[3] = {0}, n = 0, page = sys_page_size();
	char text[128];
	struct rusage r = {0};
	size_t peak = peak_of_program();

	sys_read_text("/proc/self/statm", text, sizeof(text));
	for (const char *at = text; *at && n < 3; at++) {
		if (*at == ' ')
			n++;
		else
			pages[n] = pages[n] * 10 + (size_t)(*at - '0');
	}
	CALL(getrusage, RUSAGE_SELF, &r);
	if (!peak)
		peak = (size_t)r.ru_maxrss * KIB;
	*memory = (struct sys_memory){
		.size = pages[0] * page,
		.resident = pages[1] * page,
		.shared = pages[2] * page,
		/* The kernel counts pages by thread first, so its peak lags behind. */
		.peak_resident = peak > pages[1] * page ? peak : pages[1] * page,
		.minor_faults = (size_t)r.ru_minflt,
		.major_faults = (size_t)r.ru_majflt,
	};
}

void sys_print(const char *text, size_t len)
{
	int saved_errno = errno;

	sys_write_stderr(text, len);
	errno = saved_errno;
}

/*
 * A course's printf.c may only declare this function. Ours defines it, weakly as here, so that a
 * program can redirect its output.
 */
__attribute__((weak)) void _putchar(char character)
{
	int saved_errno = errno;

	sys_write_all(STDOUT_FILENO, &character, 1);
	errno = saved_errno;
}
