// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Transparent huge pages: what small processes use where the system wants them everywhere, which is
 * simulated by advice on every mapping, and the option thp. The subjects are processes of their
 * own, which a constructor ends, so that no harness is measured.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "helpers.h"

#define HUGE_PAGE (2 * MIB)

long __real_kernel_call(long number, long a, long b, long c, long d, long e, long f);
long __wrap_kernel_call(long number, long a, long b, long c, long d, long e, long f);

static bool is_simulated(void)
{
	static int answer;

	if (!answer)
		answer = getenv("THP_SIMULATED") ? 1 : -1;
	return answer > 0;
}

long __wrap_kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result = __real_kernel_call(number, a, b, c, d, e, f);

	if (number == SYS_mmap && result != -1 && c & PROT_WRITE && is_simulated())
		madvise((void *)result, (size_t)b, MADV_HUGEPAGE);
	return result;
}

/* The whole of a file of /proc, without an allocation. */
static const char *read_proc(const char *path)
{
	static char text[256 * 1024];
	size_t len = 0;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = '\0';
	return text;
}

/* The sum of a figure of all mappings, in KiB. */
static size_t sum_of(const char *name)
{
	const char *at = read_proc("/proc/self/smaps");
	size_t kib = 0;

	while ((at = strstr(at, name))) {
		at += strlen(name);
		kib += strtoul(at, NULL, 10);
	}
	return kib;
}

/* Variables are no mapping that anybody makes. */
__attribute__((constructor(101))) static void advise_variables(void)
{
	const char *line = is_simulated() ? read_proc("/proc/self/maps") : "";

	for (; *line; line = strchr(line, '\n') + 1) {
		unsigned long start, end;
		char access[5];

		if (sscanf(line, "%lx-%lx %4s", &start, &end, access) == 3 && access[1] == 'w')
			madvise((void *)start, end - start, MADV_HUGEPAGE);
	}
}

static void allocate(size_t size, size_t bytes)
{
	for (size_t done = 0; done < bytes; done += size)
		memset(malloc(size), 1, size);
}

/* Becomes the subject, and prints KiB: what is resident, and what of it is huge pages. */
__attribute__((constructor)) static void be_subject(void)
{
	const char *what = getenv("THP_SUBJECT");
	char figures[64], *p;
	size_t resident;

	if (!what)
		return;
	if (strcmp(what, "touch") == 0) {
		p = malloc(8 * MIB);
		*(volatile char *)(p + 5 * MIB) = 1;
	}
	for (size_t size = 16; size < 1000; size += 100)
		free(malloc(size));
	if (strcmp(what, "small") != 0 && strcmp(what, "touch") != 0)
		allocate(500, strtoul(what, NULL, 10) * MIB);
	resident = sum_of("\nRss:");
	snprintf(figures, sizeof(figures), "%zu %zu\n", resident, sum_of("\nAnonHugePages:"));
	(void)!write(STDOUT_FILENO, figures, strlen(figures));
	_exit(0);
}

struct figures {
	unsigned long resident, huge; /* KiB */
};

static struct figures figures_of(const char *what, bool simulated, const char *options)
{
	char *arguments[] = {"thp", NULL}, said[256];
	struct figures f;
	int status;

	setenv("THP_SUBJECT", what, 1);
	if (simulated)
		setenv("THP_SIMULATED", "1", 1);
	status = test_again(options, arguments, said, sizeof(said));
	unsetenv("THP_SIMULATED");
	unsetenv("THP_SUBJECT");
	CHECK_MSG(status == 0 && sscanf(said, "%lu %lu", &f.resident, &f.huge) == 2 &&
			  !strchr(said, ':'),
		  "status %d, %s", status, said);
	return f;
}

/* What the kernel does with one byte of a mapping of 8 MiB. */
static void require_huge_pages(void)
{
	if (figures_of("touch", true, "").huge < HUGE_PAGE / KIB)
		test_skip("the kernel has no huge pages, or none are free");
}

static void check_size(const char *what)
{
	unsigned long plain, huge;

	require_huge_pages();
	plain = figures_of(what, false, "thp=never").resident;
	huge = figures_of(what, true, "").resident;
	CHECK_MSG(huge <= plain + MIB / KIB, "%lu KiB resident with huge pages, %lu without", huge,
		  plain);
}

TEST(a_trivial_process_is_small)
{
	check_size("small");
}

TEST(so_is_one_of_a_few_mib)
{
	check_size("1");
	check_size("6");
	check_size("20");
}

TEST(thp_always)
{
	require_huge_pages();
	CHECK(figures_of("20", false, "thp=always").huge >= 8 * MIB / KIB);
	CHECK(figures_of("touch", false, "thp=always").huge >= HUGE_PAGE / KIB);
}

TEST(thp_never)
{
	require_huge_pages();
	CHECK(figures_of("100", true, "").huge >= 8 * MIB / KIB);
	CHECK(figures_of("100", true, "thp=never").huge == 0);
}
