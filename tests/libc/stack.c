// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * The room that the main thread's stack may grow into stays free. Where addresses are not random,
 * as under a debugger, it begins right above what the kernel maps first.
 */

#include "arguments.h"
#include "libc_common.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>

#define BLOCKER (2 * GIB) /* below the first objects: more of them have to go elsewhere */
#define OBJECTS (200 * MIB)
#define FRAME 4096
#define SPARE (512 * KIB) /* of the stack, that the recursion leaves */
#define SUBJECT "STACK_SUBJECT"

static volatile char sink;

static __attribute__((noinline)) void recurse(size_t left)
{
	volatile char frame[FRAME];

	frame[0] = (char)left;
	frame[FRAME - 1] = 1;
	if (left > 2 * FRAME)
		recurse(left - FRAME - 64);
	sink = frame[0];
}

static __attribute__((noreturn, format(printf, 1, 2))) void end(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vdprintf(STDERR_FILENO, format, ap);
	va_end(ap);
	_exit(1);
}

/* Objects of every kind, of size bytes, that hold total bytes. */
static void make(size_t size, size_t total, uintptr_t low, uintptr_t high)
{
	for (size_t made = 0; made < total; made += size) {
		char *p = malloc(size);

		if (!p)
			end("malloc(%zu) fails", size);
		*p = 1;
		if ((uintptr_t)p + size > low && (uintptr_t)p < high)
			end("%zu bytes at %p, %zu KiB below the stack", size, (void *)p,
			    (high - (uintptr_t)p) / KIB);
	}
}

/* What is run anew, without random addresses. */
static void subject(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	struct rlimit r;

	getrlimit(RLIMIT_STACK, &r);
	free(malloc(1));
	if (mmap(NULL, BLOCKER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0) == MAP_FAILED)
		end("mmap: errno %d", errno);
	make(1000, OBJECTS, here - r.rlim_cur, here);
	make(20000, OBJECTS / 2, here - r.rlim_cur, here);
	make(100000, OBJECTS / 2, here - r.rlim_cur, here);
	recurse(r.rlim_cur - SPARE);
	_exit(0);
}

__attribute__((constructor)) static void be_subject(void)
{
	int argc;
	char **argv = program_arguments(&argc);

	if (argc == 1 && strcmp(argv[0], SUBJECT) == 0)
		subject();
}

static void check_stack(size_t limit, const char *options)
{
	struct rlimit r = {.rlim_cur = limit, .rlim_max = RLIM_INFINITY};
	char *arguments[] = {SUBJECT, NULL}, said[512];
	int status;

	if (personality(ADDR_NO_RANDOMIZE) < 0)
		test_skip("addresses are always random here");
	if (setrlimit(RLIMIT_STACK, &r) < 0)
		test_skip("no stack of %zu MiB here", limit / MIB);
	status = test_again(options, arguments, said, sizeof(said));
	CHECK_MSG(status == 0, "status 0x%x %s", status, said);
}

TEST(the_stack_grows_to_its_limit)
{
	check_stack(8 * MIB, "");
}

TEST(the_stack_grows_to_its_limit_hardened)
{
	check_stack(8 * MIB, "hardened");
}

TEST(a_large_stack_grows_to_its_limit)
{
	check_stack(512 * MIB, "");
}
