// SPDX-License-Identifier: BSD-3-Clause

/* Requests of HTTP/1.0 to a UNIX socket. No step blocks. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "heapview.h"
#include "live.h"

#define ANSWER_MAX ((size_t)1 << 30)

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool request_start(struct request *r, const char *path, const char *what, uint64_t patience_ms)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(address.sun_path, path, strlen(path));
	r->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->socket < 0)
		return false;
	if (connect(r->socket, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;

		close(r->socket);
		r->socket = -1;
		errno = error;
		return false;
	}
	if (getsockopt(r->socket, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof(peer)}) == 0)
		r->process = peer.pid;
	snprintf(r->line, sizeof(r->line), "%s HTTP/1.0\r\n\r\n", what);
	r->sent = r->length = 0;
	r->events = POLLOUT;
	r->started_ms = now_ms();
	r->patience_ms = patience_ms;
	return true;
}

static enum progress finish(struct request *r, enum progress how)
{
	int error = errno;

	close(r->socket);
	r->socket = -1;
	errno = error;
	return how;
}

static enum progress broke_or_waits(struct request *r)
{
	if (errno == EAGAIN || errno == EINTR)
		return now_ms() - r->started_ms > r->patience_ms ? finish(r, REQUEST_TIMED_OUT)
								 : REQUEST_WAITS;
	return finish(r, REQUEST_BROKE);
}

enum progress request_step(struct request *r)
{
	while (r->sent < strlen(r->line)) {
		ssize_t n =
			send(r->socket, r->line + r->sent, strlen(r->line) - r->sent, MSG_NOSIGNAL);

		if (n < 0)
			return broke_or_waits(r);
		r->sent += (size_t)n;
	}
	r->events = POLLIN;
	for (;;) {
		ssize_t n;

		if (r->length == r->room) {
			if (r->room >= ANSWER_MAX) {
				errno = EFBIG;
				return finish(r, REQUEST_BROKE);
			}
			r->room = r->room ? 2 * r->room : 65536;
			r->answer = grow(r->answer, r->room, 1);
		}
		n = recv(r->socket, r->answer + r->length, r->room - r->length, 0);
		if (n < 0)
			return broke_or_waits(r);
		if (n == 0)
			return finish(r, REQUEST_IS_DONE);
		r->length += (size_t)n;
	}
}

/* The value of Content-Length in the header, or UINT64_MAX. */
static uint64_t stated_length(const char *header, size_t size)
{
	static const char name[] = "\ncontent-length:";
	const size_t length = sizeof(name) - 1;

	for (size_t i = 0; i + length < size; i++)
		if (strncasecmp(header + i, name, length) == 0)
			return strtoull(header + i + length, NULL, 10);
	return UINT64_MAX;
}

const char *request_body(const struct request *r, size_t *length, unsigned int *status)
{
	const char *end = r->length ? memmem(r->answer, r->length, "\r\n\r\n", 4) : NULL;
	uint64_t stated;
	char start[32];

	if (!end)
		return NULL;
	snprintf(start, sizeof(start), "%.*s", (int)(r->length < 31 ? r->length : 31), r->answer);
	if (sscanf(start, "HTTP/1.%*1d %3u", status) != 1)
		return NULL;
	stated = stated_length(r->answer, (size_t)(end - r->answer) + 2);
	end += 4;
	*length = r->length - (size_t)(end - r->answer);
	if (stated != UINT64_MAX && *length < stated)
		return NULL;
	return end;
}
