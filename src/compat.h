/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What not every C library provides. The library is built for glibc or for musl; this header and
 * compat.c are the only files that know the difference. Each item says what it promises. In glibc
 * most are other names of its own functions.
 *
 * Programs that were built for glibc run with musl through gcompat. So all names of glibc's malloc
 * are exported everywhere, and <malloc.h> is completed here.
 */

#pragma once

#include <ctype.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- Threads ---- */

/*
 * Whether the process may have a single thread; false: it has, or had, another one. If libc does
 * not know, it always may: then only the bias of the locks finds other threads (lock.h).
 */
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define COMPAT_KNOWS_THREADS 1
#define compat_may_be_single_threaded() __libc_single_threaded
#else
#define COMPAT_KNOWS_THREADS 0
#define compat_may_be_single_threaded() 1
#endif

/*
 * Whether libc calls membarrier(2) for the first thread that it creates. Otherwise it is not
 * called: a system call filter may kill the process for it.
 */
#ifdef __GLIBC__
#define COMPAT_HAS_MEMBARRIER 0
#else
#define COMPAT_HAS_MEMBARRIER 1
#endif

/*
 * Whether another copy of libc (dlmopen) created the calling thread. glibc gives a character type
 * table to each thread that it creates; foreign threads have none. musl has one copy only.
 */
#ifdef __GLIBC__
#define compat_is_foreign_thread() (!*__ctype_b_loc())
#else
#define compat_is_foreign_thread() 0
#endif

/* ---- Loaded objects ---- */

/*
 * Whether dl_iterate_phdr(3) may be called during an allocation, and no object is ever unloaded. So
 * it is with musl: its loader has an allocator of its own, and its dlclose does nothing.
 */
#ifdef __GLIBC__
#define COMPAT_KEEPS_OBJECTS 0
#else
#define COMPAT_KEEPS_OBJECTS 1
#endif

/* ---- Signals ---- */

/* The signal that libc hides from programs and sends to all threads, in setuid(2). */
#ifdef __SIGRTMIN
#define COMPAT_SIGNAL_FOR_ALL (__SIGRTMIN + 1)
#else
#define COMPAT_SIGNAL_FOR_ALL (SIGRTMIN - 1)
#endif

#ifndef SA_INTERRUPT
#define SA_INTERRUPT 0x20000000 /* without a meaning, as in glibc */
#endif

#ifdef __GLIBC__
#define compat_sigaction __sigaction
#define compat_signal ssignal
#else
/* sigaction(2) and signal(2) of libc itself, which libc/signal.c and other libraries interpose. */
int compat_sigaction(int number, const struct sigaction *new, struct sigaction *old);
sighandler_t compat_signal(int number, sighandler_t handler);
sighandler_t __sysv_signal(int number, sighandler_t handler);
#endif

/* ---- Start and end of the process ---- */

/* The stack pointer of the first thread at its start, or NULL. */
#ifdef __GLIBC__
#define compat_stack_end __libc_stack_end
#endif
extern void *compat_stack_end;

/*
 * Call last, and before it first, at the end of exit(3), behind the handlers and destructors of
 * others. To be called before main. False if there is no memory.
 */
bool compat_at_end(void (*last)(void), void (*first)(void));

/* Called by one of these: end the process with another status. */
void compat_end(int status) __attribute__((noreturn));

/* ---- Constants of headers that are not the C library's ---- */

/* linux/membarrier.h */
#define COMPAT_MEMBARRIER 8 /* MEMBARRIER_CMD_PRIVATE_EXPEDITED */

/* linux/futex.h */
#define COMPAT_FUTEX_WAIT 128 /* FUTEX_WAIT_PRIVATE */
#define COMPAT_FUTEX_WAKE 129 /* FUTEX_WAKE_PRIVATE */

/* ---- Names of errors ---- */

/* The name of the constant, such as "ENOMEM", or NULL. */
const char *compat_error_name(int error);

/* ---- malloc.h ---- */

#ifndef M_MMAP_THRESHOLD
#define M_MXFAST 1
#define M_TRIM_THRESHOLD (-1)
#define M_TOP_PAD (-2)
#define M_MMAP_THRESHOLD (-3)
#define M_MMAP_MAX (-4)
#define M_CHECK_ACTION (-5)
#define M_PERTURB (-6)
#define M_ARENA_TEST (-7)
#define M_ARENA_MAX (-8)

struct mallinfo {
	int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct mallinfo2 {
	size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks,
		keepcost;
};

struct _IO_FILE; /* FILE */

void *pvalloc(size_t size);
int mallopt(int param, int value);
int malloc_trim(size_t pad);
void malloc_stats(void);
int malloc_info(int options, struct _IO_FILE *stream);
struct mallinfo mallinfo(void);
struct mallinfo2 mallinfo2(void);
#endif
