/* SPDX-License-Identifier: BSD-3-Clause */

/* The view of a running process, and its parts. Sizes are in bytes, times in milliseconds. */

#pragma once

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Show the process behind a socket until it ends or the user quits. Returns the exit status. */
int live_run(const char *path);

/* ---- live_figures.c: what the process says ---- */

#define UNKNOWN UINT64_MAX

/* The objects of a size, or of a heap. */
struct size_class {
	const char *name; /* of a heap; NULL: cells of that size */
	uint64_t size, live, live_bytes, cached_bytes;
};

struct thread_cache {
	uint64_t id, cells, bytes;
};

#define CLASSES_MAX 256
#define THREADS_MAX 1024

struct figures {
	char program[64];
	uint64_t pid, time_ms;
	uint64_t live, held, resident, peak_resident;
	uint64_t cached, dirty; /* freed, kept whole; free, not returned to the kernel */
	uint64_t metadata; /* what the library needs for itself */
	uint64_t calls; /* since the start; UNKNOWN if they are not counted */
	struct size_class classes[CLASSES_MAX]; /* the most live bytes first */
	struct thread_cache threads[THREADS_MAX]; /* the most bytes first */
	size_t class_count, thread_count;
};

/* Read the answer to GET /stats.json. False if it is none. */
bool figures_read(struct figures *f, const char *text, size_t length);

#define HISTORY 512

enum series {
	LIVE,
	HELD,
	RESIDENT,
	CALLS,
	SERIES
};

/* Values of the last seconds, of each series; UNKNOWN where there is none. */
struct history {
	uint64_t values[SERIES][HISTORY];
	size_t count; /* seconds in all */
	double rates[SERIES]; /* per second, of the last two figures */
};

void history_add(struct history *h, const struct figures *before, const struct figures *now);

/* ---- live_http.c: requests ---- */

/* A request and its answer. socket is -1 while there is none. */
struct request {
	int socket;
	int process; /* that serves it, as this system sees it; 0 if that is not known */
	short events; /* that poll waits for */
	char line[64];
	size_t sent;
	char *answer;
	size_t length, room;
	uint64_t started_ms, patience_ms;
};

enum progress {
	REQUEST_WAITS,
	REQUEST_IS_DONE, /* answer has everything */
	REQUEST_TIMED_OUT,
	REQUEST_BROKE, /* errno says why */
};

/* Start a request, such as "GET /stats.json". False if the process does not listen: errno. */
bool request_start(struct request *r, const char *path, const char *what, uint64_t patience_ms);
/* Take a step, once the socket is ready or later. After any but REQUEST_WAITS, it has ended. */
enum progress request_step(struct request *r);
/*
 * The body of the answer and its length, and the status of HTTP; NULL if the answer is none or is
 * incomplete. Valid until the next request_start.
 */
const char *request_body(const struct request *r, size_t *length, unsigned int *status);

uint64_t now_ms(void);

/* ---- live_terminal.c ---- */

struct terminal {
	int columns, rows;
	bool has_colour, is_utf8;
	int signals; /* a descriptor to read signals from */
};

enum terminal_kind {
	TERMINAL_NONE, /* standard output is none: print once */
	TERMINAL_DUMB, /* it has no cursor: print lines */
	TERMINAL_FULL,
};

enum terminal_kind terminal_kind(void);
/* Take over the terminal and the signals that end, stop or resize. */
void terminal_begin(struct terminal *t);
/* Give it back as it was. Idempotent; does nothing before terminal_begin. */
void live_restore(void);
/* Handle a signal that was read: resize, stop and continue, or end. */
void terminal_signal(struct terminal *t);
/* Write all of it. */
void terminal_write(const char *text, size_t length);

/* ---- live_view.c ---- */

/* What the bottom line says. */
struct view {
	const struct figures *figures;
	const struct history *history;
	const char *path, *message;
};

/* Draw the whole screen. */
void view_draw(const struct view *v, const struct terminal *t);
/* Print it once, as text of 80 columns. */
void view_print(const struct view *v, const struct terminal *t);
/* Print one line. */
void view_print_line(const struct view *v);
