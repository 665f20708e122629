// SPDX-License-Identifier: BSD-3-Clause

/*
 * The allocator shown step by step: each call, what it returned, and the list of blocks after it,
 * as a walk through the headers finds it. Nothing here allocates but the calls that are shown.
 */

#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "block_meta.h"
#include "osmem.h"
#include "printf.h"

static const struct block_meta *heap; /* the first block */
static char line[512]; /* of output, gathered so that it is one write */
static size_t line_len;

/* What printf_ prints comes here. */
void _putchar(char c)
{
	line[line_len++] = c;
	if (c != '\n' && line_len < sizeof(line))
		return;
	if (write(STDOUT_FILENO, line, line_len) < 0)
		_exit(1);
	line_len = 0;
}

static const struct block_meta *block_of(const void *p)
{
	return (const struct block_meta *)p - 1;
}

static long offset(const void *p)
{
	return (long)((const char *)p - (const char *)heap);
}

/* Every block: where it starts, its status and size; at the end where the break is. */
static void draw_heap(void)
{
	printf_("   ");
	for (const struct block_meta *b = heap; b; b = b->next)
		printf_(" %ld[%s %zu]", offset(b), b->status == STATUS_FREE ? "free" : "used",
			b->size);
	printf_(" %ld\n", offset(sbrk(0)));
}

/* What a call returned, and the heap if it may have changed. */
static void draw(const void *p)
{
	const struct block_meta *b = block_of(p);

	if (b->status == STATUS_MAPPED) {
		printf_(" = a mapping of its own, %zu bytes\n", b->size);
		return;
	}
	if (!heap)
		heap = b;
	printf_(" = heap + %ld\n", offset(p));
	draw_heap();
}

/* One step each: the call is made, and drawn. */

static void *show_malloc(size_t size)
{
	void *p = os_malloc(size);

	printf_("os_malloc(%zu)", size);
	draw(p);
	return p;
}

static void *show_calloc(size_t nmemb, size_t size)
{
	void *p = os_calloc(nmemb, size);

	printf_("os_calloc(%zu, %zu)", nmemb, size);
	draw(p);
	return p;
}

static void *show_realloc(void *old, size_t size)
{
	if (block_of(old)->status == STATUS_MAPPED)
		printf_("os_realloc(mapping, %zu)", size);
	else
		printf_("os_realloc(heap + %ld, %zu)", offset(old), size);
	old = os_realloc(old, size);
	draw(old);
	return old;
}

static void show_free(void *p)
{
	if (block_of(p)->status == STATUS_MAPPED) {
		printf_("os_free(mapping)\n");
		os_free(p);
		return;
	}
	printf_("os_free(heap + %ld)\n", offset(p));
	os_free(p);
	draw_heap();
}

static void say(const char *text)
{
	printf_("%s\n", text);
}

int main(void)
{
	void *a, *b, *c, *d, *e, *big;

	say("Split: the first call raises the break by 128 KiB and cuts its block off the front.");
	a = show_malloc(100);
	b = os_malloc(1000);
	c = os_malloc(200);
	d = os_malloc(500);
	say("Three more, then best fit: of two holes the smaller one that is large enough.");
	e = show_malloc(40);
	os_free(b);
	show_free(d);
	d = show_malloc(400);
	say("Coalesce: freeing merges nothing, but the next search merges all neighbours first.");
	show_free(c);
	b = show_malloc(1200);
	say("Resize in place: give back what is over, absorb a free neighbour.");
	a = show_realloc(a, 40);
	a = show_realloc(a, 104);
	say("Grow: the last block lacks a little, so the break is raised by just that.");
	c = show_malloc(131000);
	c = show_realloc(c, 131032);
	say("Map: a chunk of 128 KiB, or for calloc of a page, lives outside the heap.");
	big = show_realloc(c, 200000);
	c = show_calloc(10, 500);
	show_free(c);
	show_free(big);
	say("All the rest freed, and one call more: the search merges it into one block again.");
	os_free(a);
	os_free(b);
	os_free(d);
	show_free(e);
	show_malloc(1);
	return 0;
}
