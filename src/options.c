// SPDX-License-Identifier: BSD-3-Clause

/*
 * OSMEM_OPTIONS="name[=value],…".
 *
 * 1. All of it is read first, then done: the order of options does not matter, the last of a kind
 *    holds.
 * 2. A name or a value that is wrong is named in one line, with all names that there are, and left
 *    out.
 * 3. Sizes are in bytes, with k, M or G behind them for 2^10, 2^20, 2^30.
 * 4. %p in the name of a file is the number of the process. Without it the first process that opens
 *    the file has it for as long as it lives; others, its children and what they execute among
 *    them, leave it alone and say nothing. With it each process has a file of its own, forked
 *    children too, which begin theirs with a snapshot of what they inherit.
 * 5. A name of a file that is not absolute is meant from the folder that the first process starts
 *    in: it is made absolute in the environment, which children inherit wherever they go.
 * 6. Setuid programs have no options.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "helpers.h"
#include "inspect.h"
#include "large.h"
#include "picture.h"
#include "printf.h"
#include "stats.h"
#include "tcache.h"
#include "trace.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define LINE_SIZE 512
#define SHOWN_MAX 80 /* characters of what is wrong */
#define TRACE_SIZE_DEFAULT (256 * MIB)

/* A word of the environment, which nobody copies. */
struct word {
	const char *at;
	size_t len;
};

struct option {
	const char *name;
	/* Take the value, which is empty if there is none; false if it makes no sense. */
	bool (*set)(struct word value);
};

/* What was asked for, and concerns more than one moment. */
static struct {
	struct word trace, map; /* names of files; empty: none */
	size_t trace_size;
	size_t check_looks; /* visits of the clock between two checks; 0: only at exit */
	bool check;
	bool stats;
	struct sys_file map_file;
	bool has_map_file;
} options = {.trace_size = TRACE_SIZE_DEFAULT};

/* Values. */

static bool read_number(struct word value, size_t *number, size_t *used)
{
	size_t n = 0, i = 0;

	for (; i < value.len && value.at[i] >= '0' && value.at[i] <= '9'; i++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (size_t)(value.at[i] - '0'), &n))
			return false;
	*number = n;
	*used = i;
	return i > 0;
}

static bool read_plain(struct word value, size_t max, size_t *number)
{
	size_t used;

	return read_number(value, number, &used) && used == value.len && *number <= max;
}

/* Rule 3. */
static bool read_size(struct word value, size_t *size)
{
	static const char units[] = "kMG";
	const char *unit;
	size_t used;

	if (!read_number(value, size, &used))
		return false;
	if (used == value.len)
		return true;
	unit = used + 1 == value.len ? strchr(units, value.at[used]) : NULL;
	if (!unit || !*unit)
		return false;
	return !__builtin_mul_overflow(*size, (size_t)1 << 10 * (unit - units + 1), size);
}

static bool read_name(struct word value, struct word *name)
{
	*name = value;
	return value.len > 0;
}

/* The options themselves. */

static bool set_stats(struct word value)
{
	options.stats |= !value.at;
	return !value.at;
}

static bool set_trace(struct word value)
{
	return read_name(value, &options.trace);
}

static bool set_trace_size(struct word value)
{
	return read_size(value, &options.trace_size);
}

static bool set_map(struct word value)
{
	return read_name(value, &options.map);
}

static bool set_size(struct word value, void (*set)(size_t size))
{
	size_t size;

	if (!read_size(value, &size))
		return false;
	set(size);
	return true;
}

/* It was seen before anything was allocated: hardened.c. */
static bool set_hardened(struct word value)
{
	return !value.at;
}

static bool set_mmap_threshold(struct word value)
{
	return set_size(value, large_set_threshold);
}

/* "never" is what -1 means to mallopt. */
static bool set_trim_threshold(struct word value)
{
	if (value.len == strlen("never") && memcmp(value.at, "never", value.len) == 0) {
		tcache_set_trim_threshold(SIZE_MAX);
		return true;
	}
	return set_size(value, tcache_set_trim_threshold);
}

static bool set_perturb(struct word value)
{
	size_t byte;

	if (!read_plain(value, 255, &byte))
		return false;
	tcache_set_perturb((unsigned char)byte);
	return true;
}

static bool set_purge_delay(struct word value)
{
	size_t ms;

	if (!read_plain(value, 24 * 3600 * 1000, &ms))
		return false;
	large_set_sweep_period(ms);
	slab_set_sweep_period(ms);
	return true;
}

static bool set_depot_size(struct word value)
{
	size_t size;

	if (!read_size(value, &size))
		return false;
	magazine_set_depot_size(size);
	return true;
}

static bool set_check(struct word value)
{
	options.check = true;
	options.check_looks = 0;
	return !value.at || read_plain(value, 1 << 30, &options.check_looks);
}

/* In the order of the README's table. */
static const struct option known[] = {
	{"stats", set_stats},
	{"trace", set_trace},
	{"trace_size", set_trace_size},
	{"map", set_map},
	{"check", set_check},
	{"hardened", set_hardened},
	{"mmap_threshold", set_mmap_threshold},
	{"trim_threshold", set_trim_threshold},
	{"purge_delay", set_purge_delay},
	{"depot_size", set_depot_size},
	{"perturb", set_perturb},
};

/* Reading. */

/* One line: what is wrong with word, and the names of all options: rule 2. */
static void complain(const char *what, struct word word)
{
	char line[LINE_SIZE];
	int n = snprintf_(line, sizeof(line),
			  "osmem: OSMEM_OPTIONS: %s \"%.*s\"; the options are:", what,
			  (int)(word.len < SHOWN_MAX ? word.len : SHOWN_MAX), word.at);

	for (size_t i = 0; i < COUNT_OF(known); i++)
		n += snprintf_(line + n, sizeof(line) - (size_t)n, "%s %s", i ? "," : "",
			       known[i].name);
	line[n] = '\n';
	sys_print(line, (size_t)n + 1);
}

static void read_option(struct word word)
{
	const char *equals = memchr(word.at, '=', word.len);
	size_t len = equals ? (size_t)(equals - word.at) : word.len;
	struct word value = {0};

	if (equals)
		value = (struct word){.at = equals + 1, .len = word.len - len - 1};
	for (size_t i = 0; i < COUNT_OF(known); i++) {
		if (len != strlen(known[i].name) || memcmp(known[i].name, word.at, len) != 0)
			continue;
		if (!known[i].set(value))
			complain("no sense in", word);
		return;
	}
	complain("no option", word);
}

/* The first word of a text, and what is behind it and its comma. */
static struct word first_word(const char *at)
{
	return (struct word){.at = at, .len = strcspn(at, ",")};
}

static const char *next_word(struct word word)
{
	return word.at + word.len + (word.at[word.len] == ',');
}

static void read_all(const char *text)
{
	for (struct word word = first_word(text); *word.at; word = first_word(next_word(word)))
		if (word.len)
			read_option(word);
}

/* Names of files: rule 5. */

#define VARIABLE "OSMEM_OPTIONS="

/* How much of word is in front of a name that is not absolute; 0: it has none. */
static size_t before_relative(struct word word)
{
	static const char *const with_files[] = {"trace=", "map="};

	for (size_t i = 0; i < COUNT_OF(with_files); i++) {
		size_t len = strlen(with_files[i]);

		if (word.len > len && memcmp(word.at, with_files[i], len) == 0)
			return word.at[len] == '/' ? 0 : len;
	}
	return 0;
}

static size_t count_relative(const char *text)
{
	size_t n = 0;

	for (struct word word = first_word(text); *word.at; word = first_word(next_word(word)))
		n += !!before_relative(word);
	return n;
}

static char *add(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	return to + len;
}

/* The text with folder in front of relative names, at to. */
static void make_absolute(char *to, const char *text, const char *folder)
{
	for (struct word word = first_word(text); *word.at; word = first_word(next_word(word))) {
		size_t before = before_relative(word);

		to = add(to, word.at, before);
		if (before) {
			to = add(to, folder, strlen(folder));
			*to++ = '/';
		}
		to = add(to, word.at + before, (size_t)(next_word(word) - word.at) - before);
	}
	*to = '\0';
}

/* The text, which is in the environment, with absolute names; it is replaced there. */
static const char *resolve_names(const char *text)
{
	char *entry = (char *)(uintptr_t)text - strlen(VARIABLE), *room = NULL;
	size_t n = count_relative(text);
	char folder[PATH_MAX];

	if (!n || !sys_folder(folder) || strchr(folder, ',') || strstr(folder, "%p"))
		return text;
	room = sys_map(strlen(VARIABLE) + strlen(text) + n * (strlen(folder) + 1) + 1);
	if (!room)
		return text;
	make_absolute(add(room, VARIABLE, strlen(VARIABLE)), text, folder);
	for (char **at = environ; *at; at++)
		if (*at == entry)
			*at = room;
	return room + strlen(VARIABLE);
}

/* Files. */

/* Rule 4: name with %p replaced, in path (PATH_MAX bytes). False: too long. */
static bool expand_name(char *path, struct word name)
{
	size_t n = 0;

	for (size_t i = 0; i < name.len; i++) {
		if (n + 12 > PATH_MAX)
			return false;
		if (i + 1 < name.len && name.at[i] == '%' && name.at[i + 1] == 'p') {
			n += (size_t)snprintf_(path + n, PATH_MAX - n, "%u",
					       (unsigned int)sys_process());
			i++;
		} else {
			path[n++] = name.at[i];
		}
	}
	path[n] = '\0';
	return true;
}

static bool is_for_each_process(struct word name)
{
	return memmem(name.at, name.len, "%p", 2);
}

static bool ends_in(struct word name, const char *end)
{
	size_t len = strlen(end);

	return name.len >= len && memcmp(name.at + name.len - len, end, len) == 0;
}

static void complain_of_file(const char *option, const char *path)
{
	char line[LINE_SIZE];
	const char *error = strerrorname_np(errno);
	int n;

	if (errno == EWOULDBLOCK) /* another process has it: rule 4 */
		return;
	n = snprintf_(line, sizeof(line), "osmem: OSMEM_OPTIONS: %s: cannot write %.200s: %s\n",
		      option, path, error ? error : "?");
	sys_print(line, (size_t)n);
}

/* Have every call noted, in one mode more or less. */
static void set_noted(enum calls_mode mode, enum tcache_mode cells, bool is_on)
{
	calls_set_mode(mode, is_on);
	tcache_set_mode(cells, is_on);
}

static void start_trace(unsigned int parent)
{
	char path[PATH_MAX];

	errno = ENAMETOOLONG;
	if (!expand_name(path, options.trace) || !trace_start(path, options.trace_size, parent)) {
		complain_of_file("trace", path);
		return;
	}
	trace_on_time = inspect_trace_figures;
	inspect_trace_snapshot(TRACE_AT_START);
	set_noted(CALLS_TRACED, TCACHE_TRACES, true);
}

static void open_map(void)
{
	char path[PATH_MAX];

	errno = ENAMETOOLONG;
	options.has_map_file =
		expand_name(path, options.map) && sys_file_open(&options.map_file, path);
	if (!options.has_map_file)
		complain_of_file("map", path);
}

/* Checks. */

/* The caches of other threads are theirs: they are checked only where there are none. */
static void check(const char *when)
{
	const char *fault = osmem_check();

	if (fault)
		sys_fatal(when, NULL, "%s", fault);
}

static void check_now_and_then(void)
{
	static _Atomic(size_t) looks;

	if (atomic_fetch_add(&looks, 1) % options.check_looks == 0)
		check("check");
}

/* Fork. */

static void stop_tracing(void)
{
	trace_abandon();
	set_noted(CALLS_TRACED, TCACHE_TRACES, false);
}

static _Atomic(unsigned int) parent_process; /* two threads may fork at once */

static void fork_prepare(void)
{
	parent_process = sys_process();
}

/* Rule 4. Behind the heaps' own handlers: their locks are open. */
static void fork_child(void)
{
	if (trace_is_on) {
		stop_tracing();
		if (is_for_each_process(options.trace))
			start_trace(parent_process);
	}
	if (options.has_map_file) {
		sys_file_close(&options.map_file);
		options.has_map_file = false;
		if (is_for_each_process(options.map))
			open_map();
	}
}

/* Beginning and end. */

/* What has been allocated before is live, too. */
static void start_counting(void)
{
	struct osmem_stats s;

	inspect_get_stats(&s);
	calls_add_live((intptr_t)(s.cells.live_bytes + s.libc.live_bytes + s.libc.mapped_bytes));
	set_noted(CALLS_COUNTED, TCACHE_COUNTS, true);
}

static void begin(void)
{
	if (options.stats)
		start_counting();
	if (options.stats || options.map.len)
		sys_keep_stderr();
	if (options.check_looks)
		tcache_on_look = check_now_and_then;
	if (options.trace.len)
		start_trace(0);
	if (options.map.len)
		open_map();
	if (options.trace.len || options.map.len)
		pthread_atfork(fork_prepare, NULL, fork_child);
}

/* For programs that link the archive: helpers.c needs it. */
const char sys_options_are_linked;

/* Early, so that nothing is missing; but behind the heaps' own, their fork handlers above all. */
__attribute__((constructor(102))) static void read_options(void)
{
	const char *text = secure_getenv("OSMEM_OPTIONS");

	if (!text)
		return;
	read_all(resolve_names(text));
	begin();
}

static bool write_map(void)
{
	return ends_in(options.map, ".svg") ? picture_write(&options.map_file)
					    : inspect_write_map(&options.map_file);
}

__attribute__((destructor)) static void finish(void)
{
	if (options.check)
		check("exit");
	if (trace_is_on) {
		inspect_trace_figures();
		inspect_trace_snapshot(TRACE_AT_EXIT);
		set_noted(CALLS_TRACED, TCACHE_TRACES, false);
		trace_stop();
	}
	if (options.has_map_file && !write_map())
		complain_of_file("map", options.map_file.path);
	if (options.stats)
		stats_print();
}
