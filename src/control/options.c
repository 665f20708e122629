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
#include "dump.h"
#include "helpers.h"
#include "inspect/inspect.h"
#include "inspect/leaks.h"
#include "large/large.h"
#include "outputs.h"
#include "printf.h"
#include "sample/sample.h"
#include "sample/stack.h"
#include "service.h"
#include "trace/calls.h"
#include "tunables.h"
#include "words.h"

#define NAMES_SIZE 512 /* of the list of all options */
#define SHOWN_MAX 80 /* characters of an invalid word in a report */
#define OFF SIZE_MAX

/* Options with an effect after the constructor. */
static struct {
	struct word serve; /* a path, or empty */
	size_t check; /* OFF, or reads of the clock between two checks; 0: only at exit */
	size_t backtrace, background; /* OFF, or 0 */
	size_t leaks; /* OFF, or enum leaks_mode */
	size_t dump_on; /* a signal, or 0 */
	size_t misuse; /* 1: tolerated */
	bool course; /* the block list serves malloc */
	size_t guard; /* OFF, or allocations per guarded block; 0: GUARD_EVERY */
} options = {.check = OFF, .backtrace = OFF, .background = OFF, .leaks = OFF, .guard = OFF};

static void set_perturb(size_t byte)
{
	tcache_set_perturb((unsigned char)byte);
}

static void set_purge_delay(size_t ms)
{
	slab_sweep_period_ms = ms;
}

static void set_thp(size_t wanted)
{
	if (sys_set_huge_pages((enum sys_huge_pages)wanted))
		slab_advise_pages();
	else
		sys_report("OSMEM_OPTIONS: thp: the kernel takes no such advice: %s",
			   sys_error_name(errno));
}

/* Allowed values other than file names and words. */
enum value {
	NOTHING = 1, /* means 0 */
	NUMBER = 2,
	SIZE = 4, /* rule 3 */
	NEVER = 8, /* the word "never", which means SIZE_MAX */
	SIGNAL = 16, /* see dump_read */
	MAPPABLE = 32, /* with SIZE: up to SYS_MAP_MAX */
	NOT_COURSE = 64, /* has no meaning with the option course */
};

#define A_SIZE "a size in bytes, which may end in k, M or G"

/*
 * In the order of the table in osmem(7). One of number and set receives the value. Any other value
 * is the name of a file, if file is set. Few pointers: they are relocated in every program.
 */
static const struct option {
	char name[17];
	char words[21]; /* separated by commas; the first, if not empty, means 0, the next 1 */
	unsigned char values; /* enum value */
	const char *takes; /* the valid values, for a report */
	unsigned int min; /* of a NUMBER or SIZE */
	unsigned int max; /* of a NUMBER */
	size_t *number;
	struct word *file;
	void (*set)(size_t number);
} known[] = {
	{"stats", ",full,json", NOTHING, "no value, full, json or a file", .number = &outputs.stats,
	 .file = &outputs.stats_file},
	{"trace", "", 0, "a file", .file = &outputs.trace},
	{"trace_size", "", SIZE, A_SIZE, .number = &outputs.trace_size},
	{"map", "", 0, "a file", .file = &outputs.map},
	{"profile", "", 0, "a file", .file = &outputs.profile},
	{"profile_interval", "", SIZE | MAPPABLE, A_SIZE, .number = &outputs.profile_interval},
	{"profile_growth", "", SIZE | MAPPABLE, A_SIZE ", or 0 for off",
	 .number = &outputs.profile_growth},
	{"check", "", NOTHING | NUMBER, "no value, or 0 to 1073741824", .max = 1 << 30,
	 .number = &options.check},
	{"misuse", "abort,warn", 0, "abort or warn", .number = &options.misuse},
	{"backtrace", "", NOTHING, "no value", .number = &options.backtrace},
	{"guard", "", NOTHING | NUMBER | NOT_COURSE, "no value, or 1 to 1073741824", .min = 1,
	 .max = 1 << 30, .number = &options.guard},
	{"leaks", ",exit", NOTHING, "no value, or exit", .number = &options.leaks},
	{"course", "", NOTHING, "no value", .set = NULL}, /* course.c reads it earlier */
	{"hardened", "", NOTHING | NOT_COURSE, "no value", .set = NULL}, /* quarantine.c too */
	{"mmap_threshold", "", SIZE | NOT_COURSE, A_SIZE " and is at least 32k", .min = 32 * KIB,
	 .set = large_set_threshold},
	{"trim_threshold", "", SIZE | NEVER | NOT_COURSE, A_SIZE ", or never",
	 .set = tcache_set_trim_threshold},
	{"purge_delay", "", NUMBER | NOT_COURSE, "milliseconds, 0 to 86400000",
	 .max = 24 * 3600 * 1000, .set = set_purge_delay},
	{"depot_size", "", SIZE | NOT_COURSE, A_SIZE, .set = magazine_set_depot_size},
	{"thp", "default,always,never", NOT_COURSE, "default, always or never", .set = set_thp},
	{"perturb", "", NUMBER | NOT_COURSE, "1 to 255, or 0 for off", .max = 255,
	 .set = set_perturb},
	{"serve", "", 0, "the path of a socket", .file = &options.serve},
	{"background", "", NOTHING | NOT_COURSE, "no value", .number = &options.background},
	{"dump_on", "", SIGNAL, DUMP_SIGNALS, .number = &options.dump_on},
};

_Static_assert(STATS_SUMMARY == 0 && STATS_FULL == 1 && STATS_JSON == 2,
	       "the words of stats are the numbers of its forms");

/* ---- Parsing ---- */

static bool read_number(struct word value, bool has_unit, size_t *number)
{
	static const char units[] = "kMG";
	const char *unit;

	if (!word_take_number(&value, number))
		return false;
	if (!value.len)
		return true;
	unit = has_unit && value.len == 1 ? strchr(units, *value.at) : NULL;
	return unit &&
	       !__builtin_mul_overflow(*number, (size_t)1 << 10 * (unit - units + 1), number);
}

/* False: value is none of words. */
static bool read_word(const char *words, struct word value, size_t *number)
{
	*number = 0;
	for (struct word word = word_first(words); *word.at; word = word_next(word), ++*number)
		if (word.len && word.len == value.len && !memcmp(word.at, value.at, word.len))
			return true;
	return false;
}

static bool is_in_range(const struct option *o, size_t number)
{
	size_t max = o->values & NUMBER ? o->max : o->values & MAPPABLE ? SYS_MAP_MAX : SIZE_MAX;

	return number >= o->min && number <= max;
}

static bool read_value(const struct option *o, struct word value, size_t *number)
{
	*number = o->values & NEVER ? SIZE_MAX : 0;
	if (!value.at)
		return o->values & NOTHING;
	if (o->values & SIGNAL)
		return dump_read(value, number);
	if (read_word(o->words, value, number))
		return true;
	*number = o->values & NEVER ? SIZE_MAX : 0;
	if (o->values & NEVER && word_is(value, "never"))
		return true;
	return o->values & (NUMBER | SIZE) && read_number(value, o->values & SIZE, number) &&
	       is_in_range(o, *number);
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
	char names[NAMES_SIZE];
	int n = 0;

	for (size_t i = 0; i < COUNT_OF(known); i++)
		n += snprintf_(names + n, sizeof(names) - (size_t)n, "%s %s", i ? "," : "",
			       known[i].name);
	sys_report("OSMEM_OPTIONS: unknown option \"%.*s\"; the options are:%s", cut(word), word.at,
		   names);
}

static void complain_of_value(struct word word, const struct option *o)
{
	sys_report("OSMEM_OPTIONS: invalid value in \"%.*s\"; %s takes %s", cut(word), word.at,
		   o->name, o->takes);
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

/* A map named as a picture would be a file that no viewer opens. */
static bool is_picture(const struct option *o, struct word value)
{
	static const char ends[][6] = {".svg", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf"};

	if (!value.at ||
	    (o->file != &outputs.map && o->file != &outputs.trace && o->file != &outputs.profile))
		return false;
	for (size_t i = 0; i < COUNT_OF(ends); i++)
		if (word_ends_in(value, ends[i]))
			return true;
	return false;
}

static void read_option(struct word word)
{
	struct word value;
	const struct option *o = find_option(word, &value);

	if (!o)
		complain_of_name(word);
	else if (is_picture(o, value))
		sys_report("OSMEM_OPTIONS: cannot draw a picture: \"%.*s\"; use %s=FILE, then: "
			   "heapview --svg FILE",
			   cut(word), word.at, o->name);
	else if (o->values & NOT_COURSE && options.course)
		sys_report("OSMEM_OPTIONS: \"%.*s\" is ignored: it has no meaning with course",
			   cut(word), word.at);
	else if (!set_option(o, value))
		complain_of_value(word, o);
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

	if (is_absolute || !sys_folder(folder) || strchr(folder, ',') ||
	    word_find_id((struct word){folder, strlen(folder)}))
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

/* ---- The service ---- */

static bool wants_service(void)
{
	return options.serve.len || options.background != OFF || options.dump_on;
}

/* A path without %p is the first process's (rule 4). Its child is served there after its end. */
static void start_service(bool is_child)
{
	enum service_role role = SERVICE_FIRST;
	bool serves = options.serve.len;
	char path[PATH_MAX];

	if (serves && !outputs_expand_name(path, options.serve)) {
		outputs_complain("serve", path);
		serves = false;
	}
	if (is_child)
		role = outputs_are_for_each_process(options.serve) ? SERVICE_CHILD : SERVICE_HEIR;
	service_start(serves ? path : NULL, options.serve.len || options.background != OFF, role);
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

static _Atomic(unsigned int) parent_process; /* two threads may fork at once */

static void fork_prepare(void)
{
	parent_process = sys_process();
}

/* Rule 4. The handlers of the heaps have run, so their locks are free. */
static void fork_child(void)
{
	outputs_fork_child(parent_process);
	if (wants_service()) {
		service_forget();
		start_service(true);
	}
}

/* ---- Start and end ---- */

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
		sys_report("OSMEM_OPTIONS: backtrace: out of memory");
}

/* Without stacks, reports are shorter. */
static void start_guards(void)
{
	stack_begin();
	if (!sample_start_guards(options.guard ? options.guard : GUARD_EVERY))
		sys_report("OSMEM_OPTIONS: guard: out of memory");
}

/* Frees validate all pointers first, so the fast paths are closed. */
static void tolerate_misuse(void)
{
	if (!sys_tolerate_misuse()) {
		sys_report("OSMEM_OPTIONS: misuse: out of memory: misuse is fatal");
		return;
	}
	calls_set_mode(CALLS_CHECKED, true);
	tcache_set_mode(TCACHE_TOLERATES, true);
}

static void start_leaks(void)
{
	sys_keep_stderr();
	leaks_begin((enum leaks_mode)options.leaks);
}

static void begin(void)
{
	if (options.misuse)
		tolerate_misuse();
	if (options.backtrace != OFF)
		start_backtraces();
	sample_set_interval(outputs.profile_interval ? outputs.profile_interval : 1);
	if (options.guard != OFF)
		start_guards();
	if (options.leaks != OFF)
		start_leaks();
	if (options.check != OFF && options.check > 0)
		tcache_on_scavenge = check_now_and_then;
	outputs_begin();
	if (outputs_have_files() || wants_service())
		pthread_atfork(fork_prepare, NULL, fork_child);
	if (wants_service())
		start_service(false);
	if (options.dump_on)
		dump_begin((int)options.dump_on);
}

static bool is_given; /* otherwise the exit touches no other page of code */

/* Early, so that no call is missed. */
__attribute__((constructor(SYS_BEGIN_OPTIONS))) static void read_options(void)
{
	const char *text = sys_options();

	if (!text)
		return;
	is_given = true;
	options.course = words_have(text, "course") && tcache_serves_course();
	read_all(resolve_names(text));
	begin();
}

__attribute__((destructor)) static void finish(void)
{
	if (!is_given)
		return;
	service_end();
	if (options.check != OFF)
		check("exit");
	outputs_end();
}
