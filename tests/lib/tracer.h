/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The system calls of library calls, seen from outside with ptrace.
 *
 *	TEST(rule_07_mapped)
 *	{
 *		char *p;
 *
 *		trace_self();
 *		TRACE(p = os_malloc(200000));
 *		EXPECT_TRACE("mmap(0x0, 200032, 0x3, 0x22, -1, 0) = %p", (void *)(p - 32));
 *		TRACE(os_free(p));
 *		EXPECT_TRACE("munmap(%p, 200032) = 0", (void *)(p - 32));
 *	}
 *
 * trace_self() forks: the child goes on with the test, the parent follows its system calls and ends
 * as the child ends. Every stop of the child is a moment at which the parent may write, so the log
 * lies in memory both share and the test reads it as if it had been kept in its own process. A
 * library call that makes no system call costs nothing, so one TRACE may span millions.
 *
 * The test is skipped where the kernel does not permit tracing, or cannot describe a system call
 * independently of the architecture (PTRACE_GET_SYSCALL_INFO, Linux 5.3).
 */

#pragma once

#include <stddef.h>
#include <stdint.h>

struct trace_entry {
	uint64_t nr; /* SYS_brk … */
	uint64_t args[6];
	int64_t result; /* as the kernel returns it: -errno on failure */
};

/* From here on the test runs traced. */
void trace_self(void);

/* The log of what runs between the two replaces the log before. */
void trace_begin(void);
void trace_end(void);

#define TRACE(...)                                                                                 \
	do {                                                                                       \
		trace_begin();                                                                     \
		__VA_ARGS__;                                                                       \
		trace_end();                                                                       \
	} while (0)

/* How many system calls the log has: all of them, those with this number, and not about memory. */
size_t trace_count(void);
size_t trace_count_of(long nr);
size_t trace_count_others(void);

/* Entry i of the log; i must be below trace_count() and TRACE_LOG_SIZE. */
const struct trace_entry *trace_entry(size_t i);

#define TRACE_LOG_SIZE 4096

/*
 * The log as text, "brk(0x0) = 0x5000; brk(0x25000) = 0x25000": addresses, protections and flags in
 * hexadecimal, lengths and file descriptors in decimal, "= -12" for a failure. brk, mmap, munmap,
 * mremap and madvise are spelled out; any other is "syscall 318". Valid until the next call.
 */
const char *trace_text(void);

/* The log must read exactly as the printf-style text. */
void trace_expect(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define EXPECT_TRACE(...) trace_expect(__FILE__, __LINE__, __VA_ARGS__)
#define EXPECT_NO_TRACE() trace_expect(__FILE__, __LINE__, "%s", "")
