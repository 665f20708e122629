// SPDX-License-Identifier: BSD-3-Clause

/*
 * OSMEM_OPTIONS="name[=value],…".
 *
 * 1. All options are read before any takes effect. Their order does not matter; the last one of a
 *    name wins.
 * 2. An invalid name or value is reported in one line, with all names or all values, and ignored.
 * 3. Sizes are in bytes. The suffixes k, M and G multiply by 2^10, 2^20 and 2^30.
 * 4. %p in a file name is the process id. Without %p, the first process that opens the file owns it
 *    until it ends. Other processes, including its children, silently do not write to it. With %p,
 *    each process has its own file. That of a forked child starts with a snapshot of the inherited
 *    heaps.
 * 5. A relative file name refers to the folder in which the first process starts. It is made
 *    absolute in the environment, which children inherit.
 * 6. Setuid programs ignore all options.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/tcache.h"
#include "helpers.h"
#include "inspect/inspect.h"
#include "inspect/leaks.h"
#include "large/large.h"
#include "printf.h"
#include "sample/stack.h"
#include "trace/calls.h"
#include "trace/trace.h"
#include "words.h"

#define LINE_SIZE 512
#define SHOWN_MAX 80 /* characters of an invalid word in a report */
#define OFF SIZE_MAX
#define NO_STACKS "osmem: OSMEM_OPTIONS: backtrace: out of memory\n"

/* Options with an effect after the constructor. */
static struct {
	struct word trace, map, stats_file; /* file names, or empty */
	size_t trace_size;
	size_t check; /* OFF, or reads of the clock between two checks; 0: only at exit */
	size_t stats; /* OFF, or enum stats_form, on standard error; unused with stats_file */
	size_t backtrace; /* OFF, or 0 */
	size_t leaks; /* OFF, or enum leaks_mode */
} options = {.trace_size = 256 * MIB, .check = OFF, .stats = OFF, .backtrace = OFF, .leaks = OFF};

/* A file that is written at exit. */
static struct output {
	struct sys_file file;
	bool is_open;
} map_output, stats_output;

static bool has_stats(void)
{
	return options.stats != OFF || options.stats_file.len;
}

static void set_perturb(size_t byte)
{
	tcache_set_perturb((unsigned char)byte);
}

static void set_purge_delay(size_t ms)
{
	large_set_sweep_period(ms);
	slab_set_sweep_period(ms);
}

/* Allowed values other than file names and words. */
enum value {
	NOTHING = 1, /* means 0 */
	NUMBER = 2,
	SIZE = 4, /* rule 3 */
	NEVER = 8, /* the word "never", which means SIZE_MAX */
};

#define A_SIZE "a size in bytes, which may end in k, M or G"

/*
 * In the order of the table in README.md. One of number and set receives the value. Any other value
 * is the name of a file, if file is set.
 */
static const struct option {
	const char *name, *takes; /* takes: the valid values, for a report */
	unsigned int values; /* enum value */
	size_t max;
	const char *words[3]; /* words[i], if not NULL, means i */
	size_t *number;
	struct word *file;
	void (*set)(size_t number);
} known[] = {
	{"stats", "no value, full, json or a file", NOTHING, .words = {NULL, "full", "json"},
	 .number = &options.stats, .file = &options.stats_file},
	{"trace", "a file", .file = &options.trace},
	{"trace_size", A_SIZE, SIZE, SIZE_MAX, .number = &options.trace_size},
	{"map", "a file", .file = &options.map},
	{"check", "no value, or 0 to 1073741824", NOTHING | NUMBER, 1 << 30,
	 .number = &options.check},
	{"backtrace", "no value", NOTHING, .number = &options.backtrace},
	{"leaks", "no value, or exit", NOTHING, .words = {NULL, "exit"}, .number = &options.leaks},
	{"hardened", "no value", NOTHING, .set = NULL}, /* quarantine.c reads it earlier */
	{"mmap_threshold", A_SIZE, SIZE, SIZE_MAX, .set = large_set_threshold},
	{"trim_threshold", A_SIZE ", or never", SIZE | NEVER, SIZE_MAX,
	 .set = tcache_set_trim_threshold},
	{"purge_delay", "milliseconds, 0 to 86400000", NUMBER, 24 * 3600 * 1000,
	 .set = set_purge_delay},
	{"depot_size", A_SIZE, SIZE, SIZE_MAX, .set = magazine_set_depot_size},
	{"perturb", "1 to 255, or 0 for off", NUMBER, 255, .set = set_perturb},
};

_Static_assert(STATS_SUMMARY == 0 && STATS_FULL == 1 && STATS_JSON == 2,
	       "the words of stats are the numbers of its forms");

/* ---- Parsing ---- */

static bool read_number(struct word value, bool has_unit, size_t *number)
{
	static const char units[] = "kMG";
	const char *unit;
	size_t i = 0;

	for (*number = 0; i < value.len && value.at[i] >= '0' && value.at[i] <= '9'; i++)
		if (__builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, (size_t)(value.at[i] - '0'), number))
			return false;
	if (i == 0 || i == value.len)
		return i > 0;
	unit = has_unit && i + 1 == value.len ? strchr(units, value.at[i]) : NULL;
	return unit &&
	       !__builtin_mul_overflow(*number, (size_t)1 << 10 * (unit - units + 1), number);
}

static bool read_value(const struct option *o, struct word value, size_t *number)
{
	*number = o->values & NEVER ? SIZE_MAX : 0;
	if (!value.at)
		return o->values & NOTHING;
	for (size_t i = 0; i < COUNT_OF(o->words); i++)
		if (o->words[i] && word_is(value, o->words[i])) {
			*number = i;
			return true;
		}
	if (o->values & NEVER && word_is(value, "never"))
		return true;
	return o->values & (NUMBER | SIZE) && read_number(value, o->values & SIZE, number) &&
	       *number <= o->max;
}

/* False if the value is invalid. */
static bool set_option(const struct option *o, struct word value)
{
	size_t number;

	if (!read_value(o, value, &number)) {
		if (!o->file || !value.len)
			return false;
		*o->file = value;
		return true;
	}
	if (o->file)
		*o->file = (struct word){0};
	if (o->number)
		*o->number = number;
	if (o->set)
		o->set(number);
	return true;
}

static int cut(struct word word)
{
	return (int)(word.len < SHOWN_MAX ? word.len : SHOWN_MAX);
}

/* Reports: rule 2. */

static void complain_of_name(struct word word)
{
	char line[LINE_SIZE];
	int n = snprintf_(line, sizeof(line),
			  "osmem: OSMEM_OPTIONS: unknown option \"%.*s\"; the options are:",
			  cut(word), word.at);

	for (size_t i = 0; i < COUNT_OF(known); i++)
		n += snprintf_(line + n, sizeof(line) - (size_t)n, "%s %s", i ? "," : "",
			       known[i].name);
	line[n] = '\n';
	sys_print(line, (size_t)n + 1);
}

/* what is wrong with word; name takes values. */
static void complain_of_value(const char *what, struct word word, const char *name,
			      const char *values)
{
	char line[LINE_SIZE];
	int n = snprintf_(line, sizeof(line), "osmem: OSMEM_OPTIONS: %s \"%.*s\"; %s: %s\n", what,
			  cut(word), word.at, name, values);

	sys_print(line, (size_t)n);
}

/* The option that word is about, or NULL; value.at is NULL if there is no "=". */
static const struct option *find_option(struct word word, struct word *value)
{
	const char *equals = memchr(word.at, '=', word.len);
	struct word name = word;

	*value = (struct word){0};
	if (equals) {
		name.len = (size_t)(equals - word.at);
		*value = (struct word){.at = equals + 1, .len = word.len - name.len - 1};
	}
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (word_is(name, known[i].name))
			return &known[i];
	return NULL;
}

static bool word_ends_in(struct word word, const char *end)
{
	size_t len = strlen(end);

	return word.len >= len && memcmp(word.at + word.len - len, end, len) == 0;
}

/* Maps are data: who asks for a picture would get a file that no viewer opens. */
static void read_option(struct word word)
{
	struct word value;
	const struct option *o = find_option(word, &value);

	if (!o)
		complain_of_name(word);
	else if (o->file == &options.map && word_ends_in(value, ".svg"))
		complain_of_value("cannot draw a picture:", word, "use map=FILE, then",
				  "heapview --svg FILE");
	else if (!set_option(o, value))
		complain_of_value("invalid value in", word, o->name, o->takes);
}

static void read_all(const char *text)
{
	for (struct word word = word_first(text); *word.at; word = word_next(word))
		if (word.len)
			read_option(word);
}

/* ---- File names ---- */

#define VARIABLE "OSMEM_OPTIONS="

/* The length of word up to a relative file name, or 0 if it has none. */
static int before_relative(struct word word)
{
	struct word value;
	const struct option *o = find_option(word, &value);
	size_t number;

	if (!o || !o->file || !value.len || *value.at == '/' || read_value(o, value, &number))
		return 0;
	return (int)(value.at - word.at);
}

/* Write the variable, with folder in front of relative names, to size bytes. Returns its length. */
static size_t make_absolute(char *to, size_t size, const char *text, const char *folder)
{
	size_t n = (size_t)snprintf_(to, size, "%s", VARIABLE);

	for (struct word word = word_first(text); *word.at; word = word_next(word)) {
		int before = before_relative(word), len = (int)(word_next(word).at - word.at);

		n += (size_t)snprintf_(size ? to + n : NULL, size ? size - n : 0, "%.*s%s%s%.*s",
				       before, word.at, before ? folder : "", before ? "/" : "",
				       len - before, word.at + before);
	}
	return n;
}

/* Rule 5. text is the value in the environment. Returns the new value. */
static const char *resolve_names(const char *text)
{
	char *entry = (char *)(uintptr_t)text - strlen(VARIABLE), *room;
	bool is_absolute = make_absolute(NULL, 0, text, "") == strlen(entry);
	char folder[PATH_MAX];
	size_t size;

	if (is_absolute || !sys_folder(folder) || strchr(folder, ',') || strstr(folder, "%p"))
		return text;
	size = make_absolute(NULL, 0, text, folder) + 1;
	room = sys_map(size);
	if (!room)
		return text;
	make_absolute(room, size, text, folder);
	for (char **at = environ; *at; at++)
		if (*at == entry)
			*at = room;
	return room + strlen(VARIABLE);
}

/* Rule 4: write name to path (PATH_MAX bytes), with %p replaced. False with errno if too long. */
static bool expand_name(char *path, struct word name)
{
	const char *at = name.at, *end = name.at + name.len, *p;
	size_t n = 0;

	while (n < PATH_MAX && (p = memmem(at, (size_t)(end - at), "%p", 2))) {
		n += (size_t)snprintf_(path + n, PATH_MAX - n, "%.*s%u", (int)(p - at), at,
				       (unsigned int)sys_process());
		at = p + 2;
	}
	if (n < PATH_MAX)
		n += (size_t)snprintf_(path + n, PATH_MAX - n, "%.*s", (int)(end - at), at);
	errno = ENAMETOOLONG;
	return n < PATH_MAX;
}

static bool is_for_each_process(struct word name)
{
	return memmem(name.at, name.len, "%p", 2);
}

static void complain_of_file(const char *option, const char *path)
{
	char line[LINE_SIZE];
	const char *error = strerrorname_np(errno);
	int n;

	if (errno == EWOULDBLOCK) /* rule 4: another process owns the file */
		return;
	n = snprintf_(line, sizeof(line), "osmem: OSMEM_OPTIONS: %s: cannot write %.200s: %s\n",
		      option, path, error ? error : "?");
	sys_print(line, (size_t)n);
}

/* Turn a mode of recording on or off. */
static void set_recording(enum calls_mode mode, enum tcache_mode cells, bool is_on)
{
	calls_set_mode(mode, is_on);
	tcache_set_mode(cells, is_on);
}

static void start_trace(unsigned int parent)
{
	char path[PATH_MAX];

	if (!expand_name(path, options.trace) || !trace_start(path, options.trace_size, parent)) {
		complain_of_file("trace", path);
		return;
	}
	trace_on_time = inspect_trace_figures;
	inspect_trace_snapshot(TRACE_AT_START);
	set_recording(CALLS_TRACED, TCACHE_TRACES, true);
}

static void open_output(struct output *o, const char *option, struct word name)
{
	char path[PATH_MAX];

	o->is_open = expand_name(path, name) && sys_file_open(&o->file, path);
	if (!o->is_open)
		complain_of_file(option, path);
}

/* In a forked child: rule 4. */
static void reopen_output(struct output *o, const char *option, struct word name)
{
	if (!o->is_open)
		return;
	sys_file_close(&o->file);
	o->is_open = false;
	if (is_for_each_process(name))
		open_output(o, option, name);
}

/* The form of the statistics in a file is that of its name. */
static enum stats_form form_of_file(void)
{
	return word_ends_in(options.stats_file, ".json") ? STATS_JSON : STATS_FULL;
}

static void write_stats(void)
{
	if (!options.stats_file.len)
		stats_print((enum stats_form)options.stats);
	else if (stats_output.is_open && !stats_write_file(&stats_output.file, form_of_file()))
		complain_of_file("stats", stats_output.file.path);
}

/* ---- Checks ---- */

static void check(const char *when)
{
	const char *fault = osmem_check();

	if (fault)
		sys_fatal(when, NULL, "%s", fault);
}

static void check_now_and_then(void)
{
	static _Atomic(size_t) reads;

	if (atomic_fetch_add(&reads, 1) % options.check == 0)
		check("check");
}

/* ---- Fork ---- */

static void stop_tracing(void)
{
	trace_abandon();
	set_recording(CALLS_TRACED, TCACHE_TRACES, false);
}

static _Atomic(unsigned int) parent_process; /* two threads may fork at once */

static void fork_prepare(void)
{
	parent_process = sys_process();
}

/* Rule 4. The handlers of the heaps have run, so their locks are free. */
static void fork_child(void)
{
	if (trace_is_on) {
		stop_tracing();
		if (is_for_each_process(options.trace))
			start_trace(parent_process);
	}
	reopen_output(&map_output, "map", options.map);
	reopen_output(&stats_output, "stats", options.stats_file);
}

/* ---- Start and end ---- */

/* Objects that were allocated before are live, too. */
static void start_counting(void)
{
	struct osmem_stats s;

	inspect_get_stats(&s);
	calls_add_live((intptr_t)(s.cells.live_bytes + s.libc.live_bytes + s.libc.mapped_bytes));
	set_recording(CALLS_COUNTED, TCACHE_COUNTS, true);
}

static void print_stack(void)
{
	uintptr_t frames[STACK_FRAMES_MAX];

	stack_print(frames, stack_take(frames, STACK_FRAMES_MAX));
}

static void start_backtraces(void)
{
	if (stack_begin())
		sys_on_fatal = print_stack;
	else
		sys_print(NO_STACKS, strlen(NO_STACKS));
}

static void begin(void)
{
	if (has_stats())
		start_counting();
	if (has_stats() || options.map.len || options.leaks != OFF)
		sys_keep_stderr();
	if (options.backtrace != OFF)
		start_backtraces();
	if (options.leaks != OFF)
		leaks_begin((enum leaks_mode)options.leaks);
	if (options.check != OFF && options.check > 0)
		tcache_on_scavenge = check_now_and_then;
	if (options.trace.len)
		start_trace(0);
	if (options.map.len)
		open_output(&map_output, "map", options.map);
	if (options.stats_file.len)
		open_output(&stats_output, "stats", options.stats_file);
	if (options.trace.len || options.map.len || options.stats_file.len)
		pthread_atfork(fork_prepare, NULL, fork_child);
}

/* Early, so that no call is missed. */
__attribute__((constructor(SYS_BEGIN_OPTIONS))) static void read_options(void)
{
	const char *text = sys_options();

	if (!text)
		return;
	read_all(resolve_names(text));
	begin();
}

__attribute__((destructor)) static void finish(void)
{
	if (options.check != OFF)
		check("exit");
	if (trace_is_on) {
		inspect_trace_figures();
		inspect_trace_snapshot(TRACE_AT_EXIT);
		set_recording(CALLS_TRACED, TCACHE_TRACES, false);
		trace_stop();
	}
	if (map_output.is_open && !inspect_write_map(&map_output.file))
		complain_of_file("map", map_output.file.path);
	if (has_stats())
		write_stats();
}
