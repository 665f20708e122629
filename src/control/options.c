// SPDX-License-Identifier: BSD-3-Clause

/*
 * OSMEM_OPTIONS="name[=value],…".
 *
 * 1. All options are read before any takes effect. Their order does not matter; the last one of a
 *    name wins.
 * 2. An invalid name or value is reported in one line, with a list of all names, and ignored.
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
#include "inspect/backtrace.h"
#include "inspect/inspect.h"
#include "large/large.h"
#include "printf.h"
#include "trace/calls.h"
#include "trace/trace.h"
#include "words.h"

#define LINE_SIZE 512
#define SHOWN_MAX 80 /* characters of an invalid word in a report */
#define OFF SIZE_MAX
#define NO_UNWINDER "osmem: OSMEM_OPTIONS: backtrace: libgcc cannot unwind the stack here\n"

/* Options with an effect after the constructor. */
static struct {
	struct word trace, map; /* file names, or empty */
	size_t trace_size;
	size_t check; /* OFF, or reads of the clock between two checks; 0: only at exit */
	size_t stats, backtrace; /* OFF, or 0 */
	bool has_map_file;
} options = {.trace_size = 256 * MIB, .check = OFF, .stats = OFF, .backtrace = OFF};

static struct sys_file map_file;

static void set_perturb(size_t byte)
{
	tcache_set_perturb((unsigned char)byte);
}

static void set_purge_delay(size_t ms)
{
	large_set_sweep_period(ms);
	slab_set_sweep_period(ms);
}

/* Allowed values, if the value is not a file name. */
enum value {
	NOTHING = 1, /* means 0 */
	NUMBER = 2,
	SIZE = 4, /* rule 3 */
	NEVER = 8, /* the word "never", which means SIZE_MAX */
};

/* In the order of the table in README.md. One of number, file and set receives the value. */
static const struct option {
	const char *name;
	unsigned int values; /* enum value */
	size_t max;
	size_t *number;
	struct word *file;
	void (*set)(size_t number);
} known[] = {
	{"stats", NOTHING, 0, .number = &options.stats},
	{"trace", 0, 0, .file = &options.trace},
	{"trace_size", SIZE, SIZE_MAX, .number = &options.trace_size},
	{"map", 0, 0, .file = &options.map},
	{"check", NOTHING | NUMBER, 1 << 30, .number = &options.check},
	{"backtrace", NOTHING, 0, .number = &options.backtrace},
	{"hardened", NOTHING, 0, .set = NULL}, /* quarantine.c reads it earlier */
	{"mmap_threshold", SIZE, SIZE_MAX, .set = large_set_threshold},
	{"trim_threshold", SIZE | NEVER, SIZE_MAX, .set = tcache_set_trim_threshold},
	{"purge_delay", NUMBER, 24 * 3600 * 1000, .set = set_purge_delay},
	{"depot_size", SIZE, SIZE_MAX, .set = magazine_set_depot_size},
	{"perturb", NUMBER, 255, .set = set_perturb},
};

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
	if (o->values & NEVER && word_is(value, "never"))
		return true;
	return o->values & (NUMBER | SIZE) && read_number(value, o->values & SIZE, number) &&
	       *number <= o->max;
}

/* False if the value is invalid. */
static bool set_option(const struct option *o, struct word value)
{
	size_t number;

	if (o->file) {
		*o->file = value;
		return value.len > 0;
	}
	if (!read_value(o, value, &number))
		return false;
	if (o->number)
		*o->number = number;
	if (o->set)
		o->set(number);
	return true;
}

/* One line: what is wrong with word, and a hint; NULL: the names of all options: rule 2. */
static void complain(const char *what, struct word word, const char *hint)
{
	char line[LINE_SIZE];
	int n = snprintf_(line, sizeof(line), "osmem: OSMEM_OPTIONS: %s \"%.*s\"; %s", what,
			  (int)(word.len < SHOWN_MAX ? word.len : SHOWN_MAX), word.at,
			  hint ? hint : "the options are:");

	for (size_t i = 0; i < COUNT_OF(known) && !hint; i++)
		n += snprintf_(line + n, sizeof(line) - (size_t)n, "%s %s", i ? "," : "",
			       known[i].name);
	line[n] = '\n';
	sys_print(line, (size_t)n + 1);
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

static bool is_picture(struct word file)
{
	return file.len >= strlen(".svg") &&
	       memcmp(file.at + file.len - strlen(".svg"), ".svg", strlen(".svg")) == 0;
}

/* Maps are data: who asks for a picture would get a file that no viewer opens. */
static void read_option(struct word word)
{
	struct word value;
	const struct option *o = find_option(word, &value);

	if (!o)
		complain("unknown option", word, NULL);
	else if (o->file == &options.map && is_picture(value))
		complain("cannot draw a picture:", word, "use map=FILE, then: heapview --svg FILE");
	else if (!set_option(o, value))
		complain("invalid value in", word, NULL);
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

	return o && o->file && value.len && *value.at != '/' ? (int)(value.at - word.at) : 0;
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

static void open_map(void)
{
	char path[PATH_MAX];

	options.has_map_file = expand_name(path, options.map) && sys_file_open(&map_file, path);
	if (!options.has_map_file)
		complain_of_file("map", path);
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
	if (options.has_map_file) {
		sys_file_close(&map_file);
		options.has_map_file = false;
		if (is_for_each_process(options.map))
			open_map();
	}
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

static void begin(void)
{
	if (options.stats != OFF)
		start_counting();
	if (options.stats != OFF || options.map.len)
		sys_keep_stderr();
	if (options.backtrace != OFF && !backtrace_begin())
		sys_print(NO_UNWINDER, strlen(NO_UNWINDER));
	if (options.check != OFF && options.check > 0)
		tcache_on_scavenge = check_now_and_then;
	if (options.trace.len)
		start_trace(0);
	if (options.map.len)
		open_map();
	if (options.trace.len || options.map.len)
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
	if (options.has_map_file && !inspect_write_map(&map_file))
		complain_of_file("map", map_file.path);
	if (options.stats != OFF)
		stats_print();
}
