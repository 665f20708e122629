/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The service thread: the only thread of the library. It answers requests (http.h), returns memory
 * while the program sleeps (tcache_background), and writes dumps (dump.h).
 *
 * It blocks all signals except those that libc keeps for itself. It never calls malloc, nor a
 * function that may. It has its own table of descriptors. It sleeps unless a client asks, or the
 * program has visited the store lately. While the program sleeps, it wakes up every IDLE_CHECK_MS.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What a process is when it starts the service. */
enum service_role {
	SERVICE_FIRST,
	SERVICE_CHILD, /* forked, with a path of its own */
	SERVICE_HEIR, /* forked; the path is its parent's while that lives, so it fails silently */
};

/*
 * Start the thread, and wait until it is ready. It serves path, unless that is NULL, and returns
 * memory if it has_background. What fails is reported in one line, and the program continues
 * without it. Called in the constructor; or in a forked child after service_forget, which is served
 * a little later: if it executes a program or ends by _exit(2) before, no socket is left behind.
 */
void service_start(const char *path, bool has_background, enum service_role role);

/* At exit: let the thread finish what it does, and remove the socket. It never continues. */
void service_end(void);

/* In a forked child, which has no such thread: forget it. */
void service_forget(void);

/* If not NULL, the thread calls it each time it was woken. */
extern void (*service_on_wake)(void);

/* Wake the thread. Async-signal-safe. False: there is no thread. */
bool service_wake(void);

/* In the service thread, before the process is killed: remove the socket. */
void service_remove_socket(void);
