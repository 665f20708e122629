// SPDX-License-Identifier: BSD-3-Clause

/*
 * heapview: shows a file of OSMEM_OPTIONS=trace=FILE, map=FILE or osmem_write_map as a page for a
 * browser, as a picture, or as text.
 *
 *	heapview.c        options, the file, text
 *	heapview_list.c   the last snapshot; the block list of os_malloc, step by step
 *	heapview_calls.c  statistics of all calls
 *	heapview_page.c   the page: heapview.html with the data of these files
 *	heapview_svg.c    the picture of the heap
 */

#include "heapview.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
	"Usage: heapview FILE [-o OUT.html]        write a page that shows FILE\n"
	"       heapview --svg FILE [-o OUT.svg]   draw a picture of the heap\n"
	"       heapview --text FILE               print the final block list of os_malloc\n"
	"\n"
	"FILE is a trace (OSMEM_OPTIONS=trace=FILE) or a map (OSMEM_OPTIONS=map=FILE or\n"
	"osmem_write_map).\n"
	"\n"
	"  -o OUT      write the page or picture to OUT, not to FILE.html or FILE.svg;\n"
	"              - is standard output\n"
	"  --svg       draw the last snapshot of FILE: blocks, slabs, segments, mappings\n"
	"  --text      print for each block: address of the header, payload bytes, status\n"
	"  --step N    with --text: print the list after N steps; otherwise: start the player\n"
	"              at step N\n"
	"  --help      print this text\n";

struct options {
	const char *file, *out;
	bool is_text, is_svg, has_step;
	size_t step;
};

void die(const char *format, ...)
{
	va_list args;

	fputs("heapview: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void *grow(void *p, size_t count, size_t size)
{
	p = reallocarray(p, count, size);
	if (!p)
		die("out of memory");
	return p;
}

static void check_header(const char *file, const struct trace_header *h, size_t bytes)
{
	if (bytes < sizeof(*h) || memcmp(h->magic, TRACE_MAGIC, sizeof(h->magic)) != 0)
		die("%s: not an osmem trace or map", file);
	if (h->version != TRACE_VERSION)
		die("%s: version %u of the format; this heapview supports version %d", file,
		    h->version, TRACE_VERSION);
	if (h->record_size != sizeof(struct trace_record) || h->header_size < sizeof(*h) ||
	    h->header_size % 8)
		die("%s: invalid header", file);
}

/* Map the file at path. t->note says what is missing from it. */
static void trace_open(struct trace *t, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const struct trace_header *h;
	size_t room, bytes;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !st.st_size)
		die("%s: not an osmem trace or map", path);
	bytes = (size_t)st.st_size;
	h = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (h == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	check_header(path, h, bytes);
	t->header = h;
	t->records = (const void *)((const char *)h + h->header_size);
	t->count = h->next < h->capacity ? h->next : h->capacity;
	room = bytes > h->header_size ? (bytes - h->header_size) / sizeof(*t->records) : 0;
	t->note[0] = '\0';
	if (t->count > room) {
		snprintf(t->note, sizeof(t->note), "truncated: %zu of %zu records", room, t->count);
		t->count = room;
	} else if (h->dropped) {
		snprintf(t->note, sizeof(t->note), "incomplete: %lu records were dropped",
			 (unsigned long)h->dropped);
	}
}

static void print_list(const struct trace *t, const struct list *list)
{
	static const char *const names[] = {"free", "used", "mapped"};
	uint64_t bytes[3] = {0};
	size_t count[3] = {0};

	for (size_t i = 0; i < list->count; i++) {
		const struct block *b = &list->blocks[i];

		printf("%#14lx %12lu %s\n", (unsigned long)b->start, (unsigned long)b->size,
		       names[b->status]);
		bytes[b->status] += b->size;
		count[b->status]++;
	}
	for (int i = 0; i < 3; i++)
		printf("# %s: %zu blocks, %lu bytes\n", names[i], count[i],
		       (unsigned long)bytes[i]);
	if (list->refused)
		printf("# %zu steps match no block: the trace is incomplete\n", list->refused);
	printf("# headers: %u bytes each\n", t->header->meta_size);
}

static void print_text(const struct trace *t, const struct options *o)
{
	struct list list = {0};
	size_t count, *steps = player_steps(t, &count);

	if (o->has_step && o->step > count)
		die("%s: has only %zu steps", o->file, count);
	list_begin(&list, t);
	for (size_t i = 0; i < (o->has_step ? o->step : count); i++)
		list_apply(&list, &t->records[steps[i]], t->header->meta_size);
	print_list(t, &list);
	free(list.blocks);
	free(steps);
}

/* Write the page or the picture. */
static void write_out(const struct trace *t, const struct options *o)
{
	bool is_stdout = o->out && strcmp(o->out, "-") == 0;
	char name[4096];
	FILE *out;

	if (o->is_svg && !has_snapshot(t))
		die("%s: has no snapshot", o->file);
	if (snprintf(name, sizeof(name), "%s%s", o->out ? o->out : o->file,
		     o->out	 ? ""
		     : o->is_svg ? ".svg"
				 : ".html") >= (int)sizeof(name))
		die("the name is too long");
	out = is_stdout ? stdout : fopen(name, "we");
	if (!out)
		die("%s: %s", name, strerror(errno));
	if (o->is_svg)
		svg_write(out, t);
	else
		page_write(out, t, o->step);
	if (ferror(out) || (is_stdout ? fflush(out) : fclose(out)))
		die("%s: cannot be written", name);
	if (!is_stdout)
		printf("%s\n", name);
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

static void parse(struct options *o, char **argv)
{
	for (int i = 1; argv[i]; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(usage, stdout);
			exit(0);
		} else if (strcmp(argv[i], "--text") == 0) {
			o->is_text = true;
		} else if (strcmp(argv[i], "--svg") == 0) {
			o->is_svg = true;
		} else if (strcmp(argv[i], "--step") == 0) {
			o->step = number(value(argv, &i));
			o->has_step = true;
		} else if (strcmp(argv[i], "-o") == 0) {
			o->out = value(argv, &i);
		} else if (argv[i][0] == '-' || o->file) {
			die("%s: unexpected argument; see heapview --help", argv[i]);
		} else {
			o->file = argv[i];
		}
	}
	if (!o->file)
		die("no file given; see heapview --help");
	if (o->is_svg && (o->is_text || o->has_step))
		die("--svg cannot be combined with --text or --step; see heapview --help");
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct trace t;

	(void)argc;
	parse(&o, argv);
	trace_open(&t, o.file);
	if (t.note[0])
		fprintf(stderr, "heapview: %s: %s\n", o.file, t.note);
	if (o.is_text)
		print_text(&t, &o);
	else
		write_out(&t, &o);
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
