/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * UNIX stream sockets, and what else the service thread asks of the kernel. Nothing here blocks but
 * sys_poll, and nothing allocates. Functions that return false or -1 set errno. Descriptors are of
 * the calling thread: sys_leave_files.
 */

#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SYS_SOCKET_PATH 108 /* bytes of a path with its null: the kernel's limit */

/* A socket that listens. */
struct sys_listener {
	int fd; /* -1: none */
	uint64_t device, inode; /* of path */
	char path[SYS_SOCKET_PATH];
};

/*
 * Listen at path, with mode 0600 from the beginning. A socket there that nobody serves is replaced.
 * False: EADDRINUSE if a process serves it, whose id is *owner, or 0 if that is unknown; EEXIST if
 * path is no socket.
 */
bool sys_listen(struct sys_listener *l, const char *path, uint32_t *owner);

/* Remove the path, unless something else is there by now. */
void sys_unlink_listener(const struct sys_listener *l);

/*
 * Accept a connection of the same user or root; others are closed. -1 with EAGAIN: none is waiting.
 * EMFILE and its like: one is waiting, but there is no room for it.
 */
int sys_accept(const struct sys_listener *l);

/* As recv and send. -1 with EAGAIN: not now. */
ssize_t sys_receive(int fd, void *to, size_t size);
ssize_t sys_send(int fd, const void *from, size_t size);

/* As poll(2). Signals end it early. */
void sys_poll(struct pollfd *all, size_t n, int ms);

/*
 * Make the calling thread the service: name it, and let the kernel delay its timers by
 * TIMER_SLACK_MS. Returns the thread's id. 0 with errno: it cannot be woken, because a system call
 * filter refuses to block the signal for that.
 */
uint32_t sys_begin_service(void);

/*
 * A descriptor that becomes readable when somebody wakes the thread that polls it. -1: the kernel
 * refuses. Numbers up to 2 are used up, so that nothing written to them reaches a client.
 */
int sys_open_wake(void);

/* Wake the service thread of this process. Async-signal-safe. False: there is no such thread. */
bool sys_wake_service(uint32_t thread);

/* In the service thread: whether somebody has woken it since the last call. */
bool sys_was_woken(void);
