/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * UNIX stream sockets, and what else the service thread asks of the kernel. Nothing here blocks but
 * sys_poll, and nothing allocates. Functions that return bool or -1 set errno.
 */

#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SYS_SOCKET_PATH 108 /* bytes of a path with its null: the kernel's limit */

/*
 * A descriptor that the program does not know: high, and closed on exec. The program may close it
 * and use its number for something else, so each function compares the file before it is used.
 */
struct sys_descriptor {
	int fd; /* -1: none */
	uint64_t device, inode;
};

/* Whether d is still what it was. False also if there is none. */
bool sys_descriptor_is_open(const struct sys_descriptor *d);

/* Idempotent. */
void sys_descriptor_close(struct sys_descriptor *d);

/* A socket that listens. */
struct sys_listener {
	struct sys_descriptor socket;
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
 * Accept a connection of the same user or root; others are closed. False if none is waiting. EMFILE
 * and its like: one is waiting, but there is no room for it.
 */
bool sys_accept(const struct sys_listener *l, struct sys_descriptor *connection);

/* As recv and send. -1 with EAGAIN: not now. */
ssize_t sys_receive(const struct sys_descriptor *d, void *to, size_t size);
ssize_t sys_send(const struct sys_descriptor *d, const void *from, size_t size);

/* End d for both sides, also where a forked child has a copy of it, and close it. */
void sys_hang_up(struct sys_descriptor *d);

/* As poll(2). Signals end it early. */
void sys_poll(struct pollfd *all, size_t n, int ms);

/*
 * Make the calling thread the service: name it, and let the kernel delay its timers by slack_ms.
 * Returns the thread's id.
 */
uint32_t sys_begin_service(unsigned int slack_ms);

/*
 * A descriptor that becomes readable when somebody wakes the thread that polls it; its fd is -1 if
 * the kernel refuses. A forked child uses it as well. It is never closed: all descriptors of its
 * kind have the same inode, so it might be the program's.
 */
void sys_open_wake(struct sys_descriptor *wake);

/* Wake the service thread of this process. Async-signal-safe. False: there is no such thread. */
bool sys_wake_service(uint32_t thread);

/* In the service thread: whether somebody has woken it since the last call. */
bool sys_was_woken(void);

/* Send a signal to this process. */
void sys_kill_self(int signal);
