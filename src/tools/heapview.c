// SPDX-License-Identifier: BSD-3-Clause

/*
 * heapview: shows a trace, a map or a heap profile as a page for a browser, as a picture or as
 * text; and a running process in the terminal.
 *
 *	heapview.c        options, and what is shown how
 *	common.c, file.c  errors and memory; files, compressed or not
 *	template.c        what the pages share; style.css
 *	heapview_*.c      traces and maps: heapview.html, pictures, text
 *	profile_*.c       profiles: profile.html, pictures, text
 *	symbols.c         functions of mapped objects; elf_read.c, demangle.c
 *	live*.c, json.c   a running process
 */

#include "heapview.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "live.h"
#include "profile.h"

static const char usage[] =
	"Usage: heapview FILE [-o OUT.html]        write a page that shows FILE\n"
	"       heapview --svg FILE [-o OUT.svg]   draw a picture\n"
	"       heapview --text FILE               print text\n"
	"       heapview --diff OLD NEW            compare two heap profiles\n"
	"       heapview --live SOCKET             watch a running process\n"
	"\n"
	"FILE is a trace (OSMEM_OPTIONS=trace=FILE), a map (OSMEM_OPTIONS=map=FILE or\n"
	"osmem_write_map), or a heap profile (OSMEM_OPTIONS=profile=FILE, or of another\n"
	"program in pprof's format). SOCKET is that of OSMEM_OPTIONS=serve=SOCKET.\n"
	"\n"
	"  -o OUT         write the page or picture to OUT, not to FILE.html or FILE.svg;\n"
	"                 - is standard output\n"
	"  --svg          draw the snapshot of a trace or map with the most live bytes, or a\n"
	"                 profile as a flame graph\n"
	"  --text         print the block list of os_malloc: address of the header, payload\n"
	"                 bytes, status; of a profile: the functions and the call\n"
	"                 stack with the most memory\n"
	"  --step N       with --text: print the list after N steps; otherwise: start the\n"
	"                 player at step N\n"
	"  --diff         show what a profile has more or less than an older one; a page, or\n"
	"                 --svg or --text\n"
	"  --symbols DIR  look for programs and their debug files in DIR, not in\n"
	"                 /usr/lib/debug\n"
	"  --live         show figures each second; keys: t trims, s starts and stops\n"
	"                 sampling, p saves a profile, m saves a map, q quits. If standard\n"
	"                 output is no terminal: once, as text\n"
	"  --help         print this text\n";

struct options {
	const char *files[2], *out, *folder;
	size_t file_count;
	bool is_text, is_svg, is_diff, is_live, has_step;
	size_t step;
};

#define NODES_MAX 30000 /* of a page */

static bool is_stdout(const struct options *o)
{
	return o->out && strcmp(o->out, "-") == 0;
}

/* Open what -o names, or the last file's name with an ending. name has room bytes. */
static FILE *open_out(const struct options *o, char *name, size_t room)
{
	const char *ending = o->out ? "" : o->is_svg ? ".svg" : ".html";
	FILE *out;

	if (snprintf(name, room, "%s%s", o->out ? o->out : o->files[o->file_count - 1], ending) >=
	    (int)room)
		die("the name is too long");
	out = is_stdout(o) ? stdout : fopen(name, "we");
	if (!out)
		die("%s: %s", name, strerror(errno));
	return out;
}

static void close_out(const struct options *o, FILE *out, const char *name)
{
	if (ferror(out) || (is_stdout(o) ? fflush(out) : fclose(out)))
		die("%s: cannot be written", name);
	if (!is_stdout(o))
		printf("%s\n", name);
}

static void show_trace(const struct file *f, const struct options *o)
{
	struct trace t;
	char name[4096];
	size_t snapshots;
	FILE *out;

	trace_open(&t, f, o->files[0]);
	if (t.note[0])
		fprintf(stderr, "heapview: %s: %s\n", o->files[0], t.note);
	if (o->is_text) {
		print_text(&t, o->files[0], o->has_step ? o->step : SIZE_MAX);
		return;
	}
	free(snapshots_find(&t, &snapshots));
	if (o->is_svg && !snapshots)
		die("%s: has no snapshot", o->files[0]);
	out = open_out(o, name, sizeof(name));
	if (o->is_svg)
		svg_write(out, &t);
	else
		page_write(out, &t, o->step);
	close_out(o, out, name);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Add the profile in f to the tree. Its first mapping is the program. */
static void add_profile(struct tree *t, const struct file *f, const struct options *o, size_t i,
			char *title, size_t room)
{
	int side = o->is_diff && i == 0 ? OLD : NEW;
	const char *program, *path = o->files[i];
	struct profile_error error;
	struct profile p;

	if (profile_read(&p, f->bytes, f->size, &error) < 0) {
		if (error.is_profile)
			die("%s: damaged profile: %s, at byte %zu", path, error.text, error.at);
		die("%s: not an osmem trace or map, nor a profile", path);
	}
	tree_add(t, &p, side, o->folder);
	program = p.mapping_count ? last_part(p.mappings[0].file) : "";
	if (o->is_diff && side == NEW)
		snprintf(title, room, "%s%s%s, compared with %s", program, *program ? ": " : "",
			 last_part(path), last_part(o->files[0]));
	else
		snprintf(title, room, "%s%s%s", program, *program ? ": " : "", last_part(path));
	profile_free(&p);
}

static void show_profile(struct file *f, const struct options *o)
{
	char name[4096], title[1024];
	struct tree t;
	FILE *out;

	if (o->has_step)
		die("--step is for traces; see heapview --help");
	tree_init(&t);
	for (size_t i = 0; i < o->file_count; i++) {
		if (i)
			file_open(f, o->files[i]);
		add_profile(&t, f, o, i, title, sizeof(title));
	}
	tree_finish(&t, NODES_MAX);
	for (size_t i = 0; i < t.note_count; i++)
		fprintf(stderr, "heapview: %s\n", t.notes[i]);
	if (o->is_text) {
		profile_text(stdout, &t);
	} else {
		out = open_out(o, name, sizeof(name));
		(o->is_svg ? profile_svg : profile_page)(out, &t, title);
		close_out(o, out, name);
	}
	tree_free(&t);
}

static const char *value(char **argv, int *i)
{
	if (!argv[*i + 1])
		die("%s needs a value; see heapview --help", argv[*i]);
	return argv[++*i];
}

static size_t number(const char *text)
{
	char *rest;
	unsigned long n = strtoul(text, &rest, 10);

	if (*text < '0' || *text > '9' || *rest)
		die("%s: not a number", text);
	return n;
}

/* Whether the argument is an option without a value. */
static bool parse_flag(struct options *o, const char *arg)
{
	struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{"--text", &o->is_text},
		{"--svg", &o->is_svg},
		{"--diff", &o->is_diff},
		{"--live", &o->is_live},
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcmp(arg, flags[i].name) == 0) {
			*flags[i].flag = true;
			return true;
		}
	}
	return false;
}

static void check_options(const struct options *o)
{
	if (!o->file_count)
		die("no file given; see heapview --help");
	if (o->is_svg && (o->is_text || o->has_step))
		die("--svg cannot be combined with --text or --step; see heapview --help");
	if (o->is_live && (o->is_svg || o->is_text || o->has_step || o->is_diff || o->out))
		die("--live cannot be combined with other options; see heapview --help");
	if (o->file_count != (o->is_diff ? 2 : 1))
		die("%s; see heapview --help",
		    o->is_diff ? "--diff needs two profiles" : "one file is shown at a time");
}

static void parse(struct options *o, char **argv)
{
	for (int i = 1; argv[i]; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(usage, stdout);
			exit(0);
		} else if (parse_flag(o, argv[i])) {
			continue;
		} else if (strcmp(argv[i], "--step") == 0) {
			o->step = number(value(argv, &i));
			o->has_step = true;
		} else if (strcmp(argv[i], "--symbols") == 0) {
			o->folder = value(argv, &i);
		} else if (strcmp(argv[i], "-o") == 0) {
			o->out = value(argv, &i);
		} else if (argv[i][0] == '-' || o->file_count == 2) {
			die("%s: unexpected argument; see heapview --help", argv[i]);
		} else {
			o->files[o->file_count++] = argv[i];
		}
	}
	check_options(o);
}

int main(int argc, char **argv)
{
	struct options o = {.folder = "/usr/lib/debug"};
	struct file f;

	(void)argc;
	parse(&o, argv);
	if (o.is_live)
		return live_run(o.files[0]);
	file_open(&f, o.files[0]);
	if (trace_is(&f) && o.is_diff)
		die("%s: not a profile", o.files[0]);
	if (trace_is(&f))
		show_trace(&f, &o);
	else
		show_profile(&f, &o);
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
