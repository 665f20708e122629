// SPDX-License-Identifier: BSD-3-Clause

/*
 * The view of a running process: asks its service for figures each second, and does what keys say.
 * Nothing waits for the service: keys and signals are handled while an answer is under way.
 */

#include "live.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "heapview.h"

#define INTERVAL_MS 1000
#define STATS_PATIENCE_MS 10000
#define ACTION_PATIENCE_MS 120000

#define CONFLICT 409 /* the status of what is on or off already */

struct action {
	char key, next; /* next: to go on with after a conflict */
	const char *what, *under_way;
	const char *ending; /* of the file's name; NULL: none is saved */
	const char *done, *conflict; /* what is said then */
};

/* No key of the user's: goes on after s, if samples are taken already. */
#define STOP '\x13'

static const struct action actions[] = {
	{.key = 't', .what = "POST /trim", .under_way = "Trimming ...", .done = "Trimmed"},
	{.key = 's',
	 .what = "POST /profile/start",
	 .under_way = "Starting to sample ...",
	 .done = "Sampling; p saves a profile of what is allocated from now on",
	 .next = STOP},
	{.key = STOP,
	 .what = "POST /profile/stop",
	 .under_way = "Stopping ...",
	 .done = "No more samples are taken"},
	{.key = 'p',
	 .what = "GET /profile",
	 .under_way = "Taking a profile ...",
	 .ending = "pb",
	 .conflict = "No samples are taken; s starts sampling"},
	{.key = 'm', .what = "GET /map", .under_way = "Taking a map ...", .ending = "map"},
};

#define ACTIONS (sizeof(actions) / sizeof(actions[0]))

struct live {
	const char *path;
	struct terminal terminal;
	struct request stats, work; /* work: that of an action */
	const struct action *action;
	char pending[8]; /* keys to handle after it */
	size_t pending_count;
	struct figures figures, before, trimmed; /* trimmed: before the trim */
	struct history history;
	bool is_ended, is_quit, has_figures, was_trimmed;
	uint64_t next_ms;
	char message[512];
};

static struct view view_of(const struct live *l)
{
	return (struct view){&l->figures, &l->history, l->path, l->message};
}

static void draw(const struct live *l, enum terminal_kind kind)
{
	struct view v = view_of(l);

	if (!l->has_figures)
		return;
	if (kind == TERMINAL_FULL)
		view_draw(&v, &l->terminal);
}

static void say(struct live *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct live *l, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(l->message, sizeof(l->message), format, args);
	va_end(args);
}

/* The first line of an answer, for readers. */
static void line_of(char line[200], const char *body, size_t length)
{
	size_t i = 0;

	for (; i < length && i < 199 && body[i] != '\n' && body[i] != '\r'; i++)
		line[i] = body[i] >= ' ' && body[i] < 127 ? body[i] : '?';
	line[i] = '\0';
}

/* The socket refuses: the process has ended, or was never there. */
static void lost(struct live *l)
{
	bool is_gone = errno == ECONNREFUSED || errno == ENOENT;

	if (!l->has_figures)
		die("%s: %s", l->path,
		    errno == ECONNREFUSED ? "no process serves it any more" : strerror(errno));
	if (is_gone)
		l->is_ended = true;
	else
		say(l, "No connection: %s", strerror(errno));
}

static void start_stats(struct live *l)
{
	if (!request_start(&l->stats, l->path, "GET /stats.json", STATS_PATIENCE_MS) &&
	    errno != EAGAIN)
		lost(l);
	l->next_ms = now_ms() + INTERVAL_MS;
}

/* The service does not tell the name; /proc may. */
static void name_program(struct figures *f, int process)
{
	char path[64];
	FILE *comm;

	if (*f->program || process <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/comm", process);
	comm = fopen(path, "re");
	if (comm && fgets(f->program, sizeof(f->program), comm))
		for (char *c = f->program; *c; c++)
			*c = *c == '\n' ? '\0' : *c >= ' ' && *c < 127 ? *c : '?';
	if (comm)
		fclose(comm);
}

static void take_figures(struct live *l)
{
	size_t length;
	unsigned int status;
	const char *body = request_body(&l->stats, &length, &status);
	char line[200];

	if (!body && l->has_figures)
		return; /* the process may be ending; the next request tells */
	if (!body)
		die("%s: no answer of an osmem process", l->path);
	line_of(line, body, length);
	if (status != 200) {
		if (!l->has_figures)
			die("%s: %s", l->path, line);
		say(l, "No figures: %s", line);
		return;
	}
	l->before = l->figures;
	if (!figures_read(&l->figures, body, length)) {
		if (!l->has_figures)
			die("%s: the figures cannot be read", l->path);
		l->figures = l->before;
		say(l, "The figures cannot be read");
		return;
	}
	name_program(&l->figures, l->stats.process);
	history_add(&l->history, &l->before, &l->figures);
	l->has_figures = true;
	if (l->was_trimmed)
		say(l, "Trimmed: resident was %.1f MiB and is %.1f MiB",
		    (double)l->trimmed.resident / (1 << 20),
		    (double)l->figures.resident / (1 << 20));
	l->was_trimmed = false;
}

/* Write to a new file, named after the process and the time. */
static void save(struct live *l, const char *ending, const char *bytes, size_t length)
{
	char name[128], stamp[32] = "";
	time_t now = time(NULL);
	struct tm tm;
	FILE *out = NULL;

	if (localtime_r(&now, &tm))
		strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	for (int i = 1; !out && i < 100; i++) {
		char again[16] = "";

		if (i > 1)
			snprintf(again, sizeof(again), "-%d", i);
		snprintf(name, sizeof(name), "osmem-%lu-%s%s.%s",
			 l->figures.pid == UNKNOWN ? 0 : (unsigned long)l->figures.pid, stamp,
			 again, ending);
		out = fopen(name, "wxe");
		if (!out && errno != EEXIST)
			break;
	}
	if (!out) {
		say(l, "Not saved: %s: %s", name, strerror(errno));
		return;
	}
	fwrite(bytes, 1, length, out);
	if (ferror(out) | fclose(out)) {
		say(l, "Not saved: %s: %s", name, strerror(errno));
		unlink(name);
		return;
	}
	say(l, "Saved %zu bytes: heapview %s", length, name);
}

static void start_action(struct live *l, char key)
{
	const struct action *action = actions;

	while (action < actions + ACTIONS && action->key != key)
		action++;
	if (action == actions + ACTIONS)
		return;
	if (l->action) {
		if (l->pending_count < sizeof(l->pending))
			l->pending[l->pending_count++] = key;
		return;
	}
	l->trimmed = l->figures;
	if (!request_start(&l->work, l->path, action->what, ACTION_PATIENCE_MS)) {
		say(l, "No connection: %s", strerror(errno));
		return;
	}
	l->action = action;
	say(l, "%s", action->under_way);
}

/* Say or save what the answer is. */
static void take_answer(struct live *l, const struct action *action, unsigned int status,
			const char *body, size_t length)
{
	char line[200];

	line_of(line, body, length);
	if (status == CONFLICT && action->next) {
		start_action(l, action->next);
	} else if (status == CONFLICT && action->conflict) {
		say(l, "%s", action->conflict);
	} else if (status != 200) {
		say(l, "Refused: %s", line);
	} else if (action->ending) {
		save(l, action->ending, body, length);
	} else {
		say(l, "%s", action->done);
		l->was_trimmed = action->key == 't';
		l->next_ms = now_ms();
	}
}

static void finish_action(struct live *l, enum progress progress)
{
	const struct action *action = l->action;
	unsigned int status;
	const char *body;
	size_t length;

	l->action = NULL;
	body = progress == REQUEST_IS_DONE ? request_body(&l->work, &length, &status) : NULL;
	if (body)
		take_answer(l, action, status, body, length);
	else
		say(l, progress == REQUEST_TIMED_OUT ? "No answer" : "The answer is incomplete");
	if (!l->action && l->pending_count) {
		char key = l->pending[0];

		memmove(l->pending, l->pending + 1, --l->pending_count);
		start_action(l, key);
	}
}

static void handle_keys(struct live *l)
{
	char keys[64];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		l->is_quit = true;
	for (ssize_t i = 0; i < n; i++) {
		if (keys[i] == 'q' || keys[i] == 'Q' || keys[i] == 4)
			l->is_quit = true;
		else if (keys[i] >= 'a' && keys[i] <= 'z' && l->has_figures)
			start_action(l, keys[i]);
	}
}

/* Let both requests go on. Returns whether there are new figures. */
static bool step_requests(struct live *l)
{
	enum progress progress;
	bool has_new = false;

	if (l->stats.socket >= 0) {
		progress = request_step(&l->stats);
		if (progress == REQUEST_TIMED_OUT)
			say(l, "The process has not answered for %d s", STATS_PATIENCE_MS / 1000);
		if (progress == REQUEST_TIMED_OUT && !l->has_figures)
			die("%s: no answer", l->path);
		if (progress == REQUEST_IS_DONE) {
			take_figures(l);
			has_new = true;
		} else if (progress == REQUEST_BROKE && !l->has_figures) {
			die("%s: %s", l->path, strerror(errno));
		}
	}
	if (l->work.socket >= 0) {
		progress = request_step(&l->work);
		if (progress != REQUEST_WAITS)
			finish_action(l, progress);
	}
	return has_new;
}

/* Wait for whatever comes first. */
static void wait_for(struct live *l, bool has_keys)
{
	uint64_t now = now_ms();
	struct pollfd polls[] = {
		{l->terminal.signals, POLLIN, 0},
		{has_keys ? STDIN_FILENO : -1, POLLIN, 0},
		{l->stats.socket, l->stats.events, 0},
		{l->work.socket, l->work.events, 0},
	};

	if (poll(polls, 4, l->next_ms > now ? (int)(l->next_ms - now) : 0) <= 0)
		return;
	if (polls[0].revents)
		terminal_signal(&l->terminal);
	if (polls[1].revents)
		handle_keys(l);
}

static void run_once(struct live *l)
{
	struct view v = view_of(l);

	start_stats(l);
	while (l->stats.socket >= 0) {
		poll(&(struct pollfd){l->stats.socket, l->stats.events, 0}, 1, INTERVAL_MS);
		step_requests(l);
	}
	if (!l->has_figures)
		die("%s: no answer", l->path);
	view_print(&v, &l->terminal);
}

static void run(struct live *l, enum terminal_kind kind)
{
	bool has_keys = kind == TERMINAL_FULL && isatty(STDIN_FILENO);
	struct view v = view_of(l);

	terminal_begin(&l->terminal);
	while (!l->is_ended && !l->is_quit) {
		uint64_t now = now_ms();

		if (now >= l->next_ms && l->stats.socket < 0)
			start_stats(l);
		else if (now >= l->next_ms)
			l->next_ms = now + INTERVAL_MS;
		wait_for(l, has_keys);
		if (step_requests(l) && kind == TERMINAL_DUMB)
			view_print_line(&v);
		draw(l, kind);
	}
	live_restore();
	if (l->is_ended)
		printf("heapview: %s: the process has ended\n", l->path);
}

int live_run(const char *path)
{
	struct live *l = grow(NULL, 1, sizeof(*l));
	enum terminal_kind kind = terminal_kind();

	*l = (struct live){.path = path, .stats.socket = -1, .work.socket = -1};
	if (kind == TERMINAL_NONE)
		run_once(l);
	else
		run(l, kind);
	free(l->stats.answer);
	free(l->work.answer);
	free(l);
	return fflush(stdout) ? 1 : 0;
}
