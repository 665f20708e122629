// SPDX-License-Identifier: BSD-3-Clause

/*
 * What clients do that curl does not: client PATH WHAT. Exit status 0: the service behaves.
 * Texts that are sent are in C's escapes.
 *
 *	send TEXT		send it and print the reply
 *	split TEXT		the same, byte by byte
 *	half TEXT		the same, and end the own side before the reply comes
 *	silent			connect and send nothing, until the service gives up
 *	crowd N			N connections at once: all send half a request, then the rest, in
 *				reverse order; all are answered
 *	slow			ask for much and read nothing, while others are answered
 *	rude N			N times: connect, send a request or half of one, and leave
 */

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define REPLY_MAX 65536
static const char get[] = "GET /stats HTTP/1.0\r\n\r\n";

static const char *path;

static int connect_to(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror("connect");
		exit(1);
	}
	return fd;
}

static void put(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the service may have refused already */
		text += n;
		len -= (size_t)n;
	}
}

/* Read all that comes. Returns its length. */
static size_t get_all(int fd, char *reply)
{
	size_t len = 0;
	ssize_t n;

	while (len < REPLY_MAX - 1 && (n = read(fd, reply + len, REPLY_MAX - 1 - len)) > 0)
		len += (size_t)n;
	reply[len] = '\0';
	return len;
}

/* Whether reply is complete, and has this status. */
static bool is_reply(const char *reply, const char *status)
{
	const char *length = strstr(reply, "Content-Length: "), *body = strstr(reply, "\r\n\r\n");

	return strncmp(reply, "HTTP/1.0 ", 9) == 0 && strncmp(reply + 9, status, 3) == 0 && body &&
	       length && strlen(body + 4) == strtoul(length + 16, NULL, 10);
}

/* Expand \r, \n, \0 and \e (an escape character) in place. Returns the length. */
static size_t unescape(char *text)
{
	size_t n = 0;

	for (const char *from = text; *from; from++) {
		char c = *from;

		if (c == '\\' && from[1]) {
			from++;
			c = (char)(*from == 'r'	  ? '\r'
				   : *from == 'n' ? '\n'
				   : *from == 'e' ? 0x1b
						  : 0);
		}
		text[n++] = c;
	}
	return n;
}

static int converse(char *text, const char *how)
{
	static char reply[REPLY_MAX];
	size_t len = unescape(text);
	int fd = connect_to();

	for (size_t i = 0; !strcmp(how, "split") && i < len; i++) {
		put(fd, text + i, 1);
		usleep(500);
	}
	if (strcmp(how, "split") != 0)
		put(fd, text, len);
	if (!strcmp(how, "half"))
		shutdown(fd, SHUT_WR);
	get_all(fd, reply);
	fputs(reply, stdout);
	return strlen(reply) < 12 || !is_reply(reply, &reply[9]);
}

static int is_silent(void)
{
	static char reply[REPLY_MAX];

	get_all(connect_to(), reply);
	return !is_reply(reply, "408");
}

static int crowd(size_t n)
{
	static char reply[REPLY_MAX];
	int *all = calloc(n, sizeof(*all));

	for (size_t i = 0; i < n; i++) {
		all[i] = connect_to();
		put(all[i], get, 8);
	}
	for (size_t i = n; i-- > 0;)
		put(all[i], &get[8], strlen(get) - 8);
	for (size_t i = 0; i < n; i++) {
		get_all(all[i], reply);
		if (!is_reply(reply, "200")) {
			printf("connection %zu: %s\n", i, reply);
			return 1;
		}
		close(all[i]);
	}
	return 0;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A map of megabytes stays in the buffers of a client that does not read. */
static int slow(double patience)
{
	static char reply[REPLY_MAX];
	int lazy[8];

	for (int i = 0; i < 8; i++) {
		int least = 4096;

		lazy[i] = connect_to();
		setsockopt(lazy[i], SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
		put(lazy[i], "GET /map HTTP/1.0\r\n\r\n", 21);
	}
	for (int i = 0; i < 10; i++) {
		double start = now();
		int fd = connect_to();

		put(fd, get, strlen(get));
		get_all(fd, reply);
		close(fd);
		if (!is_reply(reply, "200") || now() - start > 0.5 * patience) {
			printf("%f s: %s\n", now() - start, reply);
			return 1;
		}
	}
	return 0;
}

static int rude(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int fd = connect_to();

		put(fd, get, (size_t)rand() % (strlen(get) + 1));
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *patience = getenv("TEST_PATIENCE");
	const char *what = argc > 2 ? argv[2] : "";

	path = argv[1];
	alarm(60);
	if (argc == 4 && (!strcmp(what, "send") || !strcmp(what, "split") || !strcmp(what, "half")))
		return converse(argv[3], what);
	if (!strcmp(what, "silent"))
		return is_silent();
	if (!strcmp(what, "crowd"))
		return crowd(strtoul(argv[3], NULL, 10));
	if (!strcmp(what, "slow"))
		return slow(patience ? atof(patience) : 1);
	if (!strcmp(what, "rude"))
		return rude(strtoul(argv[3], NULL, 10));
	return 2;
}
