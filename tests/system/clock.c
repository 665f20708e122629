// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* The clocks of helpers.c: with the vDSO, and without one. */

#include <errno.h>
#include <sys/auxv.h>
#include <time.h>

#include "elf_symbol.h"
#include "harness.h"
#include "helpers.h"

static bool is_hidden;
static int searches;

void *__real_elf_vdso_symbol(const char *name);
void *__wrap_elf_vdso_symbol(const char *name);

void *__wrap_elf_vdso_symbol(const char *name)
{
	searches++;
	return is_hidden ? NULL : __real_elf_vdso_symbol(name);
}

static bool has_no_vdso;

unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);

unsigned long __wrap_getauxval(unsigned long type)
{
	if (!has_no_vdso || type != AT_SYSINFO_EHDR)
		return __real_getauxval(type);
	errno = ENOENT;
	return 0;
}

static uint64_t libc_now(clockid_t clock)
{
	struct timespec now;

	CHECK(clock_gettime(clock, &now) == 0);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void check_clocks(void)
{
	uint64_t coarse = libc_now(CLOCK_MONOTONIC_COARSE) / 1000000, ms = sys_now_ms();
	uint64_t before = libc_now(CLOCK_MONOTONIC), ns = sys_now_ns();
	uint64_t wall = sys_wall_ns() / 1000000000,
		 libc_wall = libc_now(CLOCK_REALTIME) / 1000000000;

	CHECK(ms >= coarse && ms < coarse + 60000);
	CHECK(ns >= before && ns <= libc_now(CLOCK_MONOTONIC));
	CHECK(wall <= libc_wall + 1 && libc_wall < wall + 60);
}

TEST(clock_of_the_vdso)
{
	if (!getauxval(AT_SYSINFO_EHDR))
		test_skip("no vDSO here");
	CHECK(__real_elf_vdso_symbol("__vdso_clock_gettime") ||
	      __real_elf_vdso_symbol("__kernel_clock_gettime"));
	CHECK(!__real_elf_vdso_symbol("") && !__real_elf_vdso_symbol("__vdso_clock"));
	check_clocks();
	CHECK(searches > 0);
}

/* Allocations and frees ask for the time. */
TEST(without_a_vdso_errno_stays)
{
	has_no_vdso = true;
	errno = 4711;
	CHECK(sys_now_ms() > 0 && errno == 4711);
}

TEST(clock_of_the_kernel)
{
	is_hidden = true;
	check_clocks();
	CHECK_MSG(searches > 0, "the clock was found before");
}
