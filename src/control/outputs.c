// SPDX-License-Identifier: BSD-3-Clause

#include "outputs.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "cache/tcache.h"
#include "helpers.h"
#include "inspect/inspect.h"
#include "printf.h"
#include "sample/profile.h"
#include "sample/sample.h"
#include "trace/calls.h"
#include "trace/trace.h"

struct outputs outputs = {
	.trace_size = 256 * MIB, .profile_interval = SAMPLE_INTERVAL, .stats = OUTPUTS_OFF};

/* A file that is written at exit. */
static struct output {
	struct sys_file file;
	bool is_open;
} map_output, stats_output;

static bool has_stats(void)
{
	return outputs.stats != OUTPUTS_OFF || outputs.stats_file.len;
}

/* ---- Names ---- */

bool outputs_expand_name(char *path, struct word name)
{
	const char *at = name.at, *end = name.at + name.len, *p;
	size_t n = 0;

	while (n < PATH_MAX &&
	       (p = word_find_id((struct word){.at = at, .len = (size_t)(end - at)}))) {
		n += (size_t)snprintf_(path + n, PATH_MAX - n, "%.*s%u", (int)(p - at), at,
				       (unsigned int)sys_process());
		at = p + 2;
	}
	if (n < PATH_MAX)
		n += (size_t)snprintf_(path + n, PATH_MAX - n, "%.*s", (int)(end - at), at);
	errno = ENAMETOOLONG;
	return n < PATH_MAX;
}

bool outputs_are_for_each_process(struct word name)
{
	return word_find_id(name);
}

void outputs_complain(const char *option, const char *path)
{
	if (errno != EWOULDBLOCK) /* another process owns the file */
		sys_report("OSMEM_OPTIONS: %s: cannot write %.200s: %s", option, path,
			   sys_error_name(errno));
}

/* Turn a mode of recording on or off. */
static void set_recording(enum calls_mode mode, enum tcache_mode cells, bool is_on)
{
	calls_set_mode(mode, is_on);
	tcache_set_mode(cells, is_on);
}

/* ---- Traces ---- */

/* False with errno. path has PATH_MAX bytes for the name. */
static bool begin_trace(char *path, unsigned int parent)
{
	if (!outputs_expand_name(path, outputs.trace) ||
	    !trace_start(path, outputs.trace_size, parent))
		return false;
	trace_on_time = inspect_trace_figures;
	inspect_trace_snapshot(TRACE_AT_START);
	set_recording(CALLS_TRACED, TCACHE_TRACES, true);
	return true;
}

static void start_trace(unsigned int parent)
{
	char path[PATH_MAX];

	if (!begin_trace(path, parent))
		outputs_complain("trace", path);
}

static void end_trace(void)
{
	inspect_trace_figures();
	inspect_trace_snapshot(TRACE_AT_EXIT);
	set_recording(CALLS_TRACED, TCACHE_TRACES, false);
	trace_stop();
}

/* The name stays, for forked children. */
int outputs_start_trace(const char *file)
{
	static char *name;
	char path[PATH_MAX];

	if (trace_is_on)
		return EALREADY;
	if (*file && !name && !(name = sys_map(OUTPUTS_NAME)))
		return ENOMEM;
	if (*file)
		outputs.trace = (struct word){.at = memcpy(name, file, strlen(file) + 1),
					      .len = strlen(file)};
	if (!outputs.trace.len)
		return EINVAL;
	return begin_trace(path, 0) ? 0 : errno;
}

bool outputs_stop_trace(void)
{
	if (!trace_is_on)
		return false;
	end_trace();
	return true;
}

/* ---- Profiles ---- */

static void own_profile(void)
{
	char path[PATH_MAX];

	if (!outputs_expand_name(path, outputs.profile) || !profile_own(path))
		outputs_complain("profile", path);
}

/* A disk that is full is reported once. */
static void update_profile(bool waits)
{
	static atomic_flag is_reported = ATOMIC_FLAG_INIT;

	if (!profile_update(waits) && !atomic_flag_test_and_set(&is_reported))
		outputs_complain("profile", profile_path());
}

static void update_grown_profile(void)
{
	update_profile(false);
}

static void start_samples(void)
{
	if (!sample_start(outputs.profile_interval ? outputs.profile_interval : 1))
		sys_report("OSMEM_OPTIONS: profile: out of memory");
}

static void start_profile(void)
{
	start_samples();
	own_profile();
	if (outputs.profile_growth)
		sample_on_growth(outputs.profile_growth, update_grown_profile);
}

bool outputs_start_profile(void)
{
	if (sample_is_on())
		return false;
	start_samples();
	return true;
}

bool outputs_stop_profile(void)
{
	bool was_on = sample_is_on();

	sample_stop();
	return was_on;
}

/* ---- Files written at exit ---- */

static void open_output(struct output *o, const char *option, struct word name)
{
	char path[PATH_MAX];

	o->is_open = outputs_expand_name(path, name) && sys_file_open(&o->file, path);
	if (!o->is_open)
		outputs_complain(option, path);
}

/* In a forked child. */
static void reopen_output(struct output *o, const char *option, struct word name)
{
	if (!o->is_open)
		return;
	sys_file_close(&o->file);
	o->is_open = false;
	if (outputs_are_for_each_process(name))
		open_output(o, option, name);
}

/* The form of the statistics in a file is that of its name. */
static enum stats_form form_of_file(void)
{
	return word_ends_in(outputs.stats_file, ".json") ? STATS_JSON : STATS_FULL;
}

static void write_stats(void)
{
	if (!outputs.stats_file.len) {
		stats_print((enum stats_form)outputs.stats);
		return;
	}
	if (!stats_output.is_open)
		return;
	sys_file_rewind(&stats_output.file);
	if (!stats_write_file(&stats_output.file, form_of_file()))
		outputs_complain("stats", stats_output.file.path);
}

static void write_outputs(void)
{
	if (map_output.is_open) {
		sys_file_rewind(&map_output.file);
		if (!inspect_write_map(&map_output.file))
			outputs_complain("map", map_output.file.path);
	}
	update_profile(true);
	if (has_stats())
		write_stats();
}

void outputs_write(void)
{
	if (trace_is_on) {
		inspect_trace_figures();
		inspect_trace_snapshot(TRACE_ASKED);
	}
	write_outputs();
}

/* ---- Start, fork, end ---- */

/* Objects that were allocated before are live, too. */
static void start_counting(void)
{
	struct osmem_stats s;

	inspect_get_stats(&s);
	calls_add_live((intptr_t)(s.cells.live_bytes + s.libc.live_bytes + s.libc.mapped_bytes));
	set_recording(CALLS_COUNTED, TCACHE_COUNTS, true);
}

void outputs_begin(void)
{
	if (has_stats())
		start_counting();
	if (has_stats() || outputs.map.len || outputs.profile.len)
		sys_keep_stderr();
	if (outputs.trace.len)
		start_trace(0);
	if (outputs.map.len)
		open_output(&map_output, "map", outputs.map);
	if (outputs.stats_file.len)
		open_output(&stats_output, "stats", outputs.stats_file);
	if (outputs.profile.len)
		start_profile();
}

bool outputs_have_files(void)
{
	return outputs.trace.len || outputs.map.len || outputs.stats_file.len ||
	       outputs.profile.len;
}

static void stop_tracing(void)
{
	trace_abandon();
	set_recording(CALLS_TRACED, TCACHE_TRACES, false);
}

void outputs_fork_child(unsigned int parent)
{
	if (trace_is_on) {
		stop_tracing();
		if (outputs_are_for_each_process(outputs.trace))
			start_trace(parent);
	}
	profile_abandon();
	if (outputs_are_for_each_process(outputs.profile))
		own_profile();
	reopen_output(&map_output, "map", outputs.map);
	reopen_output(&stats_output, "stats", outputs.stats_file);
}

void outputs_end(void)
{
	if (trace_is_on)
		end_trace();
	write_outputs();
}
