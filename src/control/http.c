// SPDX-License-Identifier: BSD-3-Clause

#include "http.h"

#include <errno.h>
#include <string.h>

#include "endpoints.h"
#include "helpers.h"
#include "printf.h"
#include "sockets.h"
#include "tunables.h"

#define HEAD_MAX 256

/* A connection reads until its reply is made, and writes from then on. */
struct connection {
	int fd; /* -1: unused */
	bool is_writing;
	uint64_t due_ms, end_ms; /* when it is too late: for the next step, for all */
	size_t got; /* bytes of the request */
	size_t head_len, sent; /* sent: bytes of head and body */
	struct body body;
	char head[HEAD_MAX];
	char request[REQUEST_MAX];
};

static struct connection *connections; /* CONNECTIONS of them, or NULL */

static struct connection *next_in_use(struct connection *c)
{
	for (c = c ? c + 1 : connections; c && c < connections + CONNECTIONS; c++)
		if (c->fd >= 0)
			return c;
	return NULL;
}

#define FOR_EACH_IN_USE(c) for (struct connection *c = NULL; (c = next_in_use(c));)

bool http_begin(void)
{
	if (connections)
		return true;
	connections = sys_map(CONNECTIONS * sizeof(*connections));
	for (size_t i = 0; connections && i < CONNECTIONS; i++)
		connections[i].fd = -1;
	return connections;
}

static struct connection *find_unused(void)
{
	for (struct connection *c = connections; c < connections + CONNECTIONS; c++)
		if (c->fd < 0)
			return c;
	return NULL;
}

bool http_has_room(void)
{
	return find_unused();
}

void http_add(int fd, uint64_t now_ms)
{
	struct connection *c = find_unused();

	c->is_writing = false;
	c->got = 0;
	c->body = (struct body){0};
	c->due_ms = c->end_ms = now_ms + REQUEST_MS;
	c->fd = fd;
}

static void end(struct connection *c)
{
	body_drop(&c->body);
	sys_close(c->fd);
	c->fd = -1;
}

/* ---- Replies ---- */

static const char *status_text(unsigned int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 409:
		return "Conflict";
	case 413:
		return "Content Too Large";
	case 503:
		return "Service Unavailable";
	default:
		return "Internal Server Error";
	}
}

static void begin_writing(struct connection *c, struct reply *reply, bool has_body)
{
	c->head_len = (size_t)snprintf_(
		c->head, sizeof(c->head),
		"HTTP/1.0 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s%s"
		"Cache-Control: no-store\r\nConnection: close\r\n\r\n",
		reply->status, status_text(reply->status), reply->type, reply->body.len,
		reply->allow ? "Allow: " : "", reply->allow ? reply->allow : "",
		reply->allow ? "\r\n" : "");
	c->body = reply->body;
	if (!has_body)
		body_drop(&c->body);
	c->sent = 0;
	c->is_writing = true;
}

/* Bytes of memory that replies hold until their clients have read them. */
static size_t waiting_bytes(void)
{
	size_t bytes = 0;

	FOR_EACH_IN_USE(c)
		bytes += c->body.room;
	return bytes;
}

static void refuse(struct connection *c, unsigned int status, const char *what)
{
	struct reply reply = {0};

	endpoint_say(&reply, status, what);
	begin_writing(c, &reply, true);
}

static void answer(struct connection *c, const struct request *r)
{
	struct reply reply = {.request = r};

	if (waiting_bytes() > REPLIES_BYTES) {
		refuse(c, 503, "too many replies wait for their readers");
		return;
	}
	endpoint_answer(&reply);
	if (reply.body.is_cut) {
		body_drop(&reply.body);
		endpoint_say(&reply, 503, "out of memory");
	}
	begin_writing(c, &reply, r->method != METHOD_HEAD);
}

/* ---- Steps ---- */

/* is_all: the client sends no more. */
static void parse_received(struct connection *c, bool is_all)
{
	struct request r;

	switch (request_parse(&r, c->request, c->got, sizeof(c->request))) {
	case REQUEST_COMPLETE:
		answer(c, &r);
		return;
	case REQUEST_MALFORMED:
		refuse(c, 400, "this is no request of HTTP/1.0");
		return;
	case REQUEST_TOO_LARGE:
		refuse(c, 413, "the request is too large");
		return;
	default:
		if (is_all)
			refuse(c, 400, "the request is incomplete");
	}
}

static void read_some(struct connection *c)
{
	ssize_t n = sys_receive(c->fd, c->request + c->got, sizeof(c->request) - c->got);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (n == 0 && !c->got)) {
		end(c);
		return;
	}
	c->got += (size_t)n;
	parse_received(c, n == 0);
}

/* Read what the client has still sent. Otherwise it would get an error behind the reply. */
static void finish(struct connection *c)
{
	sys_receive(c->fd, c->request, sizeof(c->request));
	end(c);
}

/* Send what is left of one of the two parts. */
static void write_part(struct connection *c, const char *part, size_t begin, size_t len)
{
	ssize_t n;

	if (c->fd < 0 || c->sent < begin || c->sent >= begin + len)
		return;
	n = sys_send(c->fd, part + (c->sent - begin), begin + len - c->sent);
	if (n > 0)
		c->sent += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		end(c);
}

static void write_some(struct connection *c, uint64_t now_ms)
{
	size_t before = c->sent;

	write_part(c, c->head, 0, c->head_len);
	write_part(c, c->body.at, c->head_len, c->body.len);
	if (c->fd < 0)
		return;
	if (c->sent == c->head_len + c->body.len)
		finish(c);
	else if (c->sent > before)
		c->due_ms = now_ms + REPLY_MS < c->end_ms ? now_ms + REPLY_MS : c->end_ms;
}

static void step(struct connection *c, uint64_t now_ms)
{
	if (!c->is_writing)
		read_some(c);
	if (c->fd < 0 || !c->is_writing)
		return;
	if (!c->sent) {
		c->due_ms = now_ms + REPLY_MS;
		c->end_ms = now_ms + REPLY_ALL_MS;
	}
	write_some(c, now_ms);
}

/* A slow sender is told; a slow reader is left. */
static void give_up(struct connection *c, uint64_t now_ms)
{
	if (!c->is_writing) {
		refuse(c, 408, "the request did not arrive in time");
		write_some(c, now_ms);
	}
	if (c->fd >= 0)
		end(c);
}

void http_step(const struct pollfd *polls, size_t n, uint64_t now_ms)
{
	FOR_EACH_IN_USE(c) {
		size_t i = (size_t)(c - connections);

		if (i < n && polls[i].revents)
			step(c, now_ms);
		if (c->fd >= 0 && now_ms >= c->due_ms)
			give_up(c, now_ms);
	}
}

/* ---- Polling ---- */

size_t http_poll(struct pollfd *polls)
{
	size_t n = 0;

	for (size_t i = 0; connections && i < CONNECTIONS; i++) {
		const struct connection *c = &connections[i];

		polls[i] = (struct pollfd){.fd = c->fd, .events = c->is_writing ? POLLOUT : POLLIN};
		if (c->fd >= 0)
			n = i + 1;
	}
	return n;
}

uint64_t http_next_ms(void)
{
	uint64_t next = UINT64_MAX;

	FOR_EACH_IN_USE(c)
		next = c->due_ms < next ? c->due_ms : next;
	return next;
}

void http_forget(void)
{
	FOR_EACH_IN_USE(c) {
		body_drop(&c->body);
		c->fd = -1;
	}
}
