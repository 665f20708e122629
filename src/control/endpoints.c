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

#define TEXT "text/plain; charset=utf-8"
#define METRICS "text/plain; version=0.0.4; charset=utf-8"
#define BINARY "application/octet-stream"

struct endpoint {
	const char *path;
	enum method method; /* GET includes HEAD */
	const char *about, *type; /* type: of the body */
	void (*answer)(struct reply *reply); /* or */
	void (*fill)(struct text *t); /* which writes the body */
};

void endpoint_say(struct reply *reply, unsigned int status, const char *line)
{
	reply->status = status;
	reply->type = TEXT;
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

static const struct endpoint endpoints[] = {
	{"/", METHOD_GET, "this list", TEXT, .fill = list_all},
	{"/stats", METHOD_GET, "a summary of the heap", TEXT, .fill = stats_write_summary},
	{"/stats/full", METHOD_GET, "all statistics", TEXT, .fill = stats_write_table},
	{"/stats.json", METHOD_GET, "all statistics as JSON", "application/json",
	 .fill = stats_write_json},
	{"/metrics", METHOD_GET, "all statistics for Prometheus", METRICS, .fill = metrics_write},
	{"/profile", METHOD_GET, "a heap profile, for pprof and heapview", BINARY,
	 .answer = answer_profile},
	{"/map", METHOD_GET, "a map of all heaps, for heapview", BINARY, .answer = answer_map},
	{"/trim", METHOD_POST, "return free memory to the kernel", TEXT, .fill = trim},
	{"/profile/start", METHOD_POST, "take samples", TEXT, .answer = answer_profile_start},
	{"/profile/stop", METHOD_POST, "take no more", TEXT, .answer = answer_profile_stop},
	{"/trace/start", METHOD_POST, "record every call, in ?file=NAME", TEXT,
	 .answer = answer_trace_start},
	{"/trace/stop", METHOD_POST, "end the record", TEXT, .answer = answer_trace_stop},
};

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
		reply->type = e->type;
		if (e->fill)
			body_write(&reply->body, e->fill);
		else
			e->answer(reply);
	}
}
