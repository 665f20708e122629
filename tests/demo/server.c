// SPDX-License-Identifier: BSD-3-Clause
/*
 * A server with two leaks, for "Find a leak in five minutes" in the README.md of this folder.
 *
 *	server [REQUESTS]
 *
 * It makes up a thousand requests each second and answers them: REQUESTS of them, or until SIGINT
 * or SIGTERM. Each request names a visitor, whose session is looked up, and has a query, which is
 * decoded. One leak is reachable and the other is not:
 *
 * - A session is never removed from the table, also if its visitor never returns.
 * - The copy of a malformed query is not freed.
 *
 * The history of the last requests is no leak: it stops growing.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUCKETS 4096
#define CART_SIZE 4000
#define HISTORY 1000
#define PER_SECOND 1000

struct session {
	struct session *next;
	unsigned int visitor, visits;
	char *cart;
};

static struct session *sessions[BUCKETS];
static char *history[HISTORY]; // the newest one replaces the oldest
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void *allocate(size_t size)
{
	void *p = malloc(size);

	if (!p)
		abort();
	return p;
}

static struct session *session_create(unsigned int visitor)
{
	struct session *s = allocate(sizeof(*s));

	s->visitor = visitor;
	s->visits = 0;
	s->cart = allocate(CART_SIZE);
	memset(s->cart, 0, CART_SIZE);
	s->next = sessions[visitor % BUCKETS];
	sessions[visitor % BUCKETS] = s;
	return s;
}

static struct session *session_find(unsigned int visitor)
{
	struct session *s = sessions[visitor % BUCKETS];

	while (s && s->visitor != visitor)
		s = s->next;
	return s ? s : session_create(visitor);
}

// A copy of QUERY with "%xx" decoded, or NULL if it is malformed.
static char *query_decode(const char *query)
{
	char *copy = allocate(strlen(query) + 1), *to = copy;

	for (; *query; query++) {
		unsigned int code = (unsigned char)*query;

		if (*query == '%') {
			if (sscanf(query + 1, "%2x", &code) != 1)
				return NULL;
			query += 2;
		}
		*to++ = (char)code;
	}
	*to = '\0';
	return copy;
}

static char *page_render(const struct session *s, const char *query)
{
	size_t size = 2000 + 6000 * (s->visitor % 2);
	char *page = allocate(size);

	snprintf(page, size, "<p>%s: visit %u of visitor %u", query, s->visits, s->visitor);
	return page;
}

static void history_add(unsigned int visitor, const char *query)
{
	static size_t next;
	char *line = allocate(4000);

	snprintf(line, 4000, "%u asked for %s", visitor, query);
	free(history[next]);
	history[next] = line;
	next = (next + 1) % HISTORY;
}

static void answer(unsigned int visitor, const char *query)
{
	struct session *s = session_find(visitor);
	char *decoded = query_decode(query);
	char *page;

	s->visits++;
	history_add(visitor, query);
	page = page_render(s, decoded ? decoded : "bad request");
	free(page);
	free(decoded);
}

int main(int argc, char **argv)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;

	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	for (unsigned long i = 0; !stopped && (!count || i < count); i++) {
		unsigned int visitor = i % 4 ? (unsigned int)i : 1; // every fourth is a regular one

		answer(visitor, i % 50 ? "item=blue%20chair" : "item=100%");
		if (i % (PER_SECOND / 100) == 0)
			nanosleep(&pause, NULL);
	}
	return 0;
}
