/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Connections of the service: each has one request and one reply, then it ends. No step blocks:
 * what a client does not send or read yet waits in bounded memory, up to a time. Only the service
 * thread calls this, except http_forget.
 */

#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prepare. False with errno ENOMEM. Idempotent. */
bool http_begin(void);

/* Fill in polls, of CONNECTIONS entries, for all connections. Returns how many matter. */
size_t http_poll(struct pollfd *polls);

/* Whether there is room for another connection. */
bool http_has_room(void);

/* Add fd, which is closed in the end. There is room. */
void http_add(int fd, uint64_t now_ms);

/* Take a step with each connection that is ready or too late. */
void http_step(const struct pollfd *polls, size_t n, uint64_t now_ms);

/* The time of the next time-out; UINT64_MAX: none. */
uint64_t http_next_ms(void);

/* In a forked child, which has no descriptor of the parent's connections. */
void http_forget(void);
