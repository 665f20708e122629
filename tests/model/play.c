// SPDX-License-Identifier: BSD-3-Clause

/*
 * Make the calls of a script, and draw the block list after each line:
 *
 *	OSMEM_OPTIONS=trace=FILE play FILE <SCRIPT    the library; the trace names the rules
 *	play --first-fit <SCRIPT                      the naive model, with first fit
 *
 * A line of a script begins with "> " and has calls, separated by semicolons:
 *
 *	> a = os_malloc(100); b = os_malloc(200); os_free(a)
 *	> c = os_calloc(10, 8)
 *
 * A name is one letter. sbrk(64) is the program's own call, which moves the break. header(a) prints
 * the header of a, and no drawing follows.
 *
 * The output has the script's lines. Below each are the result of its call, if it has only one, and
 * a drawing: each block has its name and payload bytes, and above it the offset of its header from
 * the start of the heap. Other lines of the script are dropped: an earlier run has printed them.
 */

#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_meta.h"
#include "naive.h"
#include "osmem.h"
#include "trace/trace_format.h"

#define META sizeof(struct block_meta)
#define NAMES 26
#define ITEMS_MAX 64
#define TEXT_MAX 512
#define CELL "\342\226\221" /* a light shade: free */

/* A block, or the bytes of others between two regions, to be drawn. */
struct item {
	long offset; /* of the header; -1: mapped */
	size_t size; /* of the payload, or all bytes between regions */
	int status; /* STATUS_FREE, …; -1: between regions */
	const void *handle; /* what the calls return */
};

/* One of the allocators. */
struct allocator {
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t nmemb, size_t size);
	void *(*realloc)(void *p, size_t size);
	void (*free)(void *p);
	void (*move_break)(size_t size);
	size_t (*list)(struct item *items); /* copies the heap's blocks in their order */
	struct item (*item_of)(const void *p); /* the block of a result */
	size_t (*end)(void); /* the break, from the start of the heap */
};

static const struct allocator *allocator;
static void *held[NAMES]; /* what each name stands for; it may have been freed */
static bool is_mapped[NAMES];
static int trace = -1;
static uint64_t records; /* of the trace that have been read */

static void die(const char *what, const char *line)
{
	fprintf(stderr, "play: %s: %s\n", what, line);
	exit(1);
}

/* ---- The library: a walk through the headers ---- */

static char *base;

static size_t library_end(void)
{
	return (size_t)((char *)sbrk(0) - base);
}

static void library_move_break(size_t size)
{
	if (sbrk((intptr_t)size) == (void *)-1)
		die("the break cannot be moved", "sbrk");
}

static struct item library_item(const void *p)
{
	const struct block_meta *b = (const struct block_meta *)p - 1;
	long offset = b->status == STATUS_MAPPED ? -1 : (long)((const char *)b - base);

	return (struct item){offset, b->size, b->status, p};
}

static size_t library_list(struct item *items)
{
	const struct block_meta *b = (const void *)base;
	size_t count = 0;

	if (library_end() == 0)
		return 0;
	for (; b && count < ITEMS_MAX; b = b->next)
		items[count++] = library_item(b + 1);
	return count;
}

static const struct allocator library = {
	.malloc = os_malloc,
	.calloc = os_calloc,
	.realloc = os_realloc,
	.free = os_free,
	.move_break = library_move_break,
	.list = library_list,
	.item_of = library_item,
	.end = library_end,
};

/* ---- The model ---- */

static struct naive_heap heap;

static void *model_malloc(size_t size)
{
	return naive_malloc(&heap, size);
}

static void *model_calloc(size_t nmemb, size_t size)
{
	return naive_calloc(&heap, nmemb, size);
}

static void *model_realloc(void *p, size_t size)
{
	return naive_realloc(&heap, p, size);
}

static void model_free(void *p)
{
	naive_free(&heap, p);
}

static void model_move_break(size_t size)
{
	naive_move_break(&heap, size);
}

static struct item model_item(const void *p)
{
	const struct naive_block *b = p;

	return (struct item){b->status == STATUS_MAPPED ? -1 : (long)b->offset, b->size, b->status,
			     b};
}

static size_t model_list(struct item *items)
{
	size_t count = 0;

	for (const struct naive_block *b = heap.first; b && count < ITEMS_MAX; b = b->next)
		items[count++] = model_item(b);
	return count;
}

static size_t model_end(void)
{
	return heap.end;
}

static const struct allocator model = {
	.malloc = model_malloc,
	.calloc = model_calloc,
	.realloc = model_realloc,
	.free = model_free,
	.move_break = model_move_break,
	.list = model_list,
	.item_of = model_item,
	.end = model_end,
};

/* ---- Drawing ---- */

/* Three lines of text that grow to the right: offsets, contents, and the frame of the contents. */
struct drawing {
	char above[TEXT_MAX], contents[TEXT_MAX], top[TEXT_MAX], bottom[TEXT_MAX];
	int width; /* in columns */
};

static void append(char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void append(char *text, const char *fmt, ...)
{
	size_t length = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + length, TEXT_MAX - length, fmt, ap);
	va_end(ap);
}

static void repeat(char *text, const char *what, int times)
{
	for (int i = 0; i < times; i++)
		append(text, "%s", what);
}

/* The name that holds the block, or a space. */
static char name_of(const struct item *item)
{
	for (int i = 0; i < NAMES; i++)
		if (held[i] == item->handle && item->status > STATUS_FREE)
			return (char)('a' + i);
	return ' ';
}

static void label_of(const struct item *item, char *label)
{
	label[0] = '\0';
	if (item->status == -1)
		append(label, "%zu of others", item->size);
	else if (item->status == STATUS_FREE)
		append(label, "free %zu", item->size);
	else
		append(label, "%c %zu", name_of(item), item->size);
}

/* A doubling of the size makes a block one column wider. */
static int width_of(const struct item *item, const char *label, const char *offset)
{
	int length = (int)strlen(label), width = 0;

	for (size_t size = item->size; size > 16; size /= 2)
		width++;
	length += item->status == STATUS_FREE ? 4 : 2;
	if (width < length)
		width = length;
	return width < (int)strlen(offset) ? (int)strlen(offset) : width;
}

static void draw_item(struct drawing *d, const struct item *item)
{
	char label[TEXT_MAX], offset[TEXT_MAX] = "";
	const char *fill = item->status == STATUS_FREE ? CELL : " ";
	int width, left;

	if (item->offset >= 0)
		append(offset, "%ld", item->offset);
	label_of(item, label);
	width = width_of(item, label, offset);
	left = (width - (int)strlen(label)) / 2;
	append(d->above, "%-*s", width + 1, offset);
	append(d->top, "%s", d->width ? "┬" : "┌");
	append(d->bottom, "%s", d->width ? "┴" : "└");
	append(d->contents, "│");
	repeat(d->top, "─", width);
	repeat(d->bottom, "─", width);
	repeat(d->contents, fill, left - 1);
	append(d->contents, " %s ", label);
	repeat(d->contents, fill, width - left - (int)strlen(label) - 1);
	d->width += width + 1;
}

static void print_drawing(struct drawing *d, const char *end)
{
	if (!d->width)
		return;
	if (d->above[strspn(d->above, " ")] || *end)
		printf("  %s%s\n", d->above, end);
	printf("  %s┐\n  %s│\n  %s┘\n", d->top, d->contents, d->bottom);
	*d = (struct drawing){.width = 0};
}

/* The bytes between the end of a block and the next one, or the break, are not the heap's. */
static void draw_gap(struct drawing *d, const struct item *item, long next)
{
	long end = item->offset + (long)(META + item->size);

	if (next > end)
		draw_item(d, &(struct item){end, (size_t)(next - end), -1, NULL});
}

static void draw(void)
{
	struct item items[ITEMS_MAX];
	struct drawing d = {.width = 0};
	size_t count = allocator->list(items);
	char end[TEXT_MAX] = "";

	append(end, "%zu", allocator->end());
	for (size_t i = 0; i < count; i++) {
		draw_item(&d, &items[i]);
		draw_gap(&d, &items[i],
			 i + 1 < count ? items[i + 1].offset : (long)allocator->end());
	}
	print_drawing(&d, end);
	for (int i = 0; i < NAMES; i++) {
		struct item item = is_mapped[i] ? allocator->item_of(held[i]) : (struct item){0};

		if (is_mapped[i])
			draw_item(&d, &item);
	}
	print_drawing(&d, "");
}

/* ---- What the trace says of the last call ---- */

struct told {
	char rules[TEXT_MAX],
		calls[TEXT_MAX]; /* rules, and system calls, in the order of the steps */
	unsigned int count, last; /* of the rules */
	uint64_t mapping, mapping_size; /* the last one that was mapped */
	uint64_t unmapped; /* the last block that was to be unmapped */
};

/* The trace has mappings of its own as well, for snapshots. */
static void tell_system_call(struct told *told, const struct trace_record *r)
{
	if (r->what == TRACE_STEP_BRK)
		append(told->calls, "; brk +%lu", (unsigned long)(r->b - r->a));
	if (r->what == TRACE_STEP_MMAP) {
		told->mapping = r->a;
		told->mapping_size = r->b;
	}
	if (r->what == TRACE_STEP_MAPPED && r->a == told->mapping)
		append(told->calls, "; mmap of %lu bytes", (unsigned long)told->mapping_size);
	if (r->what == TRACE_STEP_UNMAPPED)
		told->unmapped = r->a;
	if (r->what == TRACE_STEP_MUNMAP && r->a == told->unmapped)
		append(told->calls, "; munmap of %lu bytes", (unsigned long)r->b);
}

static void tell_step(struct told *told, const struct trace_record *r)
{
	static bool has_heap;
	unsigned int rule = r->rule;

	if (r->what == TRACE_STEP_REGION) {
		rule = has_heap ? 13 : 9;
		has_heap = true;
	}

	if (rule && rule != told->last)
		append(told->rules, "%s%u", told->rules[0] ? ", " : "", rule);
	told->count += rule && rule != told->last;
	told->last = rule ? rule : told->last;
	tell_system_call(told, r);
}

/* The steps of the last call of os_*. */
static struct told read_trace(void)
{
	struct told told = {.count = 0};
	struct trace_record r;

	while (pread(trace, &r, sizeof(r), (off_t)(TRACE_HEADER_SIZE + records * sizeof(r))) ==
		       sizeof(r) &&
	       r.kind) {
		records++;
		if (r.kind == TRACE_ENTER && r.what <= TRACE_OS_FREE)
			told = (struct told){.count = 0};
		if (r.kind == TRACE_STEP)
			tell_step(&told, &r);
	}
	return told;
}

static void print_told(const struct told *told)
{
	if (told->count)
		printf("%s %s", told->count > 1 ? "rules" : "rule", told->rules);
	else
		printf("no step");
	printf("%s\n", told->calls[0] ? told->calls : "; no system call");
}

static void print_result(const void *result, bool is_allocation)
{
	struct item item = result ? allocator->item_of(result) : (struct item){0};

	if (is_allocation && !result)
		printf("  NULL");
	else if (is_allocation && item.status == STATUS_MAPPED)
		printf("  a mapping");
	else if (is_allocation)
		printf("  heap + %ld", item.offset + (long)META);
}

/* ---- Scripts ---- */

struct call {
	char name; /* of the result, or 0 */
	char function[32];
	char args[2][32];
	int arg_count;
};

static int index_of(const char *name, const char *text)
{
	if (!islower((unsigned char)name[0]) || name[1])
		die("not a name", text);
	return name[0] - 'a';
}

static struct call parse(const char *text)
{
	struct call call = {.name = 0};
	char name[2] = "";

	if (sscanf(text, " %1[a-z] = ", name) == 1 && strchr(text, '='))
		call.name = name[0];
	if (call.name)
		text = strchr(text, '=') + 1;
	call.arg_count = sscanf(text, " %31[a-z_](%31[a-z0-9A-Z] , %31[0-9])", call.function,
				call.args[0], call.args[1]) -
			 1;
	if (call.arg_count < 1)
		die("not a call", text);
	return call;
}

static void *pointer(const char *arg, const char *text)
{
	return strcmp(arg, "NULL") ? held[index_of(arg, text)] : NULL;
}

/* A heap block's header: rule 3. */
static void print_header(const void *p)
{
	const struct block_meta *b = (const struct block_meta *)p - 1;

	printf("  size %zu, status %d, prev ", b->size, b->status);
	if (b->prev)
		printf("heap + %td", (const char *)b->prev - base);
	printf(b->prev ? ", next " : "NULL, next ");
	if (b->next)
		printf("heap + %td", (const char *)b->next - base);
	printf(b->next ? "\n" : "NULL\n");
}

static void *make(const struct call *call, const char *text)
{
	const char *name = call->function;
	size_t first = strtoul(call->args[0], NULL, 10), second = strtoul(call->args[1], NULL, 10);

	if (!strcmp(name, "os_malloc") && call->arg_count == 1)
		return allocator->malloc(first);
	if (!strcmp(name, "os_calloc") && call->arg_count == 2)
		return allocator->calloc(first, second);
	if (!strcmp(name, "os_realloc") && call->arg_count == 2)
		return allocator->realloc(pointer(call->args[0], text), second);
	if (!strcmp(name, "os_free") && call->arg_count == 1)
		allocator->free(pointer(call->args[0], text));
	else if (!strcmp(name, "sbrk") && call->arg_count == 1)
		allocator->move_break(first);
	else if (!strcmp(name, "header") && trace >= 0)
		print_header(pointer(call->args[0], text));
	else
		die("not a call", text);
	return NULL;
}

/* Keep result under its name. The mapping of the argument may have been removed. */
static void hold(const struct call *call, void *result, const char *text)
{
	bool is_realloc = !strcmp(call->function, "os_realloc");

	if ((is_realloc && result) || !strcmp(call->function, "os_free"))
		if (strcmp(call->args[0], "NULL") != 0)
			is_mapped[index_of(call->args[0], text)] = false;
	if (!call->name || (is_realloc && !result))
		return;
	for (int i = 0; i < NAMES; i++)
		held[i] = held[i] == result ? NULL : held[i];
	held[call->name - 'a'] = result;
	is_mapped[call->name - 'a'] = result && allocator->item_of(result).status == STATUS_MAPPED;
}

/* is_only: the call has a line to itself, so its result is printed. */
static void run_call(const char *text, bool is_only)
{
	struct call call = parse(text);
	bool is_free = !strcmp(call.function, "os_free");
	bool is_allocation = !is_free && !strncmp(call.function, "os_", 3);
	size_t end = allocator->end();
	void *result = make(&call, text);
	struct told told = {.count = 0};

	if (trace >= 0)
		told = read_trace();
	hold(&call, result, text);
	if (!is_only || !(is_free || is_allocation))
		return;
	print_result(result, is_allocation);
	if (trace >= 0)
		printf(is_allocation ? "; " : "  ");
	if (trace >= 0)
		print_told(&told);
	else if (is_allocation && allocator->end() > end)
		printf("; brk +%zu\n", allocator->end() - end);
	else if (is_allocation)
		printf("; no brk\n");
}

static void run_line(char *line)
{
	bool is_only = !strchr(line, ';'), is_header = !strncmp(line, "header", 6);

	for (char *text = strtok(line, ";\n"); text; text = strtok(NULL, ";\n"))
		run_call(text, is_only);
	if (!is_header)
		draw();
}

int main(int argc, char **argv)
{
	static char line[TEXT_MAX];
	bool is_model = argc == 2 && !strcmp(argv[1], "--first-fit");

	if (argc != 2)
		die("usage", "play TRACE, or play --first-fit");
	allocator = is_model ? &model : &library;
	naive_init(&heap, 4096, NAIVE_FIRST_FIT);
	if (!is_model && (trace = open(argv[1], O_RDONLY | O_CLOEXEC)) < 0)
		die("cannot read the trace", argv[1]);
	base = sbrk(0);
	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, "> ", 2) != 0)
			continue;
		printf("%s", line);
		run_line(line + 2);
	}
	return 0;
}
