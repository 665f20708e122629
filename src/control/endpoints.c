// SPDX-License-Identifier: BSD-3-Clause

#include "endpoints.h"

#include <errno.h>
#include <string.h>

#include "cache/tcache.h"
#include "helpers.h"
#include "inspect/inspect.h"
#include "inspect/text.h"
#include "outputs.h"
#include "sample/profile.h"
#include "sample/sample.h"
#include "tunables.h"

enum type {
	TEXT,
	JSON,
	PROMETHEUS,
	BINARY,
};

static const char types[][44] = {
	[TEXT] = "text/plain; charset=utf-8",
	[JSON] = "application/json",
	[PROMETHEUS] = "text/plain; version=0.0.4; charset=utf-8",
	[BINARY] = "application/octet-stream",
};

struct endpoint {
	enum method method; /* GET includes HEAD */
	enum type type;
	char path[16], about[40];
};

void endpoint_say(struct reply *reply, unsigned int status, const char *line)
{
	reply->status = status;
	reply->type = types[TEXT];
	body_add(&reply->body, line, strlen(line));
	body_add(&reply->body, "\n", 1);
}

/* ---- Figures ---- */

static void answer_map(struct reply *reply)
{
	struct inspect_map map;

	if (inspect_make_map(&map))
		reply->body = (struct body){.at = map.at, .len = map.len, .room = map.room};
	else
		reply->body.is_cut = true;
}

static bool add_to_body(void *body, const void *data, size_t len)
{
	body_add(body, data, len);
	return !((struct body *)body)->is_cut;
}

static void answer_profile(struct reply *reply)
{
	struct sample_stats stats;

	sample_get_stats(&stats);
	if (!stats.interval)
		endpoint_say(reply, 409, "no samples; POST /profile/start takes them");
	else if (!profile_stream(add_to_body, &reply->body))
		reply->body.is_cut = true;
}

/* ---- Actions ---- */

static void trim(struct text *t)
{
	struct sys_memory before, after;

	sys_get_memory(&before);
	tcache_trim();
	sys_get_memory(&after);
	text_add(t, "resident bytes: %zu before, %zu after\n", before.resident, after.resident);
}

/* The name of a file in the request; empty if there is none. False: it is invalid. */
static bool get_file(char *file, struct reply *reply)
{
	*file = '\0';
	if (!request_value(reply->request, "file", file, OUTPUTS_NAME) || *file == '/')
		return true;
	endpoint_say(reply, 400, "file=NAME takes an absolute name");
	return false;
}

static void report_start(struct reply *reply, int error)
{
	if (!error)
		endpoint_say(reply, 200, "started");
	else if (error == EALREADY)
		endpoint_say(reply, 409, "it is on already");
	else if (error == EINVAL)
		endpoint_say(reply, 400, "which file? Add ?file=NAME, or start with the option");
	else if (error == EWOULDBLOCK)
		endpoint_say(reply, 409,
			     "this file has a trace of another process, or an earlier one; add "
			     "?file=NAME");
	else
		endpoint_say(reply, 500, sys_error_name(error));
}

static void report_stop(struct reply *reply, bool was_on)
{
	if (was_on)
		endpoint_say(reply, 200, "stopped");
	else
		endpoint_say(reply, 409, "it is off");
}

static void answer_trace_start(struct reply *reply)
{
	char file[OUTPUTS_NAME];

	if (get_file(file, reply))
		report_start(reply, outputs_start_trace(file));
}

static void answer_trace_stop(struct reply *reply)
{
	report_stop(reply, outputs_stop_trace());
}

static void answer_profile_start(struct reply *reply)
{
	report_start(reply, outputs_start_profile() ? 0 : EALREADY);
}

static void answer_profile_stop(struct reply *reply)
{
	report_stop(reply, outputs_stop_profile());
}

static void list_all(struct text *t);

/* Functions are apart: pointers are relocated in every program, and such pages cost memory. */
static const struct endpoint endpoints[] = {
	{METHOD_GET, TEXT, "/", "this list"},
	{METHOD_GET, TEXT, "/stats", "a summary of the heap"},
	{METHOD_GET, TEXT, "/stats/full", "all statistics"},
	{METHOD_GET, JSON, "/stats.json", "all statistics as JSON"},
	{METHOD_GET, PROMETHEUS, "/metrics", "all statistics for Prometheus"},
	{METHOD_GET, BINARY, "/profile", "a heap profile, for pprof and heapview"},
	{METHOD_GET, BINARY, "/map", "a map of all heaps, for heapview"},
	{METHOD_POST, TEXT, "/trim", "return free memory to the kernel"},
	{METHOD_POST, TEXT, "/profile/start", "take samples"},
	{METHOD_POST, TEXT, "/profile/stop", "take no more"},
	{METHOD_POST, TEXT, "/trace/start", "record every call, in ?file=NAME"},
	{METHOD_POST, TEXT, "/trace/stop", "end the record"},
};

/* In the same order: answer, or fill, which writes the body. */
static const struct {
	void (*answer)(struct reply *reply);
	void (*fill)(struct text *t);
} functions[] = {
	{.fill = list_all},
	{.fill = stats_write_summary},
	{.fill = stats_write_table},
	{.fill = stats_write_json},
	{.fill = metrics_write},
	{.answer = answer_profile},
	{.answer = answer_map},
	{.fill = trim},
	{.answer = answer_profile_start},
	{.answer = answer_profile_stop},
	{.answer = answer_trace_start},
	{.answer = answer_trace_stop},
};

_Static_assert(COUNT_OF(functions) == COUNT_OF(endpoints), "each endpoint has an answer");

static void list_all(struct text *t)
{
	for (size_t i = 0; i < COUNT_OF(endpoints); i++)
		text_add(t, "%-4s %-14s %s\n", endpoints[i].method == METHOD_POST ? "POST" : "GET",
			 endpoints[i].path, endpoints[i].about);
}

static const struct endpoint *find(struct word path)
{
	for (size_t i = 0; i < COUNT_OF(endpoints); i++)
		if (word_is(path, endpoints[i].path))
			return &endpoints[i];
	return NULL;
}

void endpoint_answer(struct reply *reply)
{
	const struct request *r = reply->request;
	const struct endpoint *e = find(r->path);
	enum method method = r->method == METHOD_HEAD ? METHOD_GET : r->method;

	if (!e) {
		endpoint_say(reply, 404, "there is no such path; GET / lists them");
	} else if (method != e->method) {
		reply->allow = e->method == METHOD_POST ? "POST" : "GET, HEAD";
		endpoint_say(reply, 405, "this path has another method; GET / lists them");
	} else {
		reply->status = 200;
		reply->type = types[e->type];
		if (functions[e - endpoints].fill)
			body_write(&reply->body, functions[e - endpoints].fill);
		else
			functions[e - endpoints].answer(reply);
	}
}
