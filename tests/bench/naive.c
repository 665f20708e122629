// SPDX-License-Identifier: BSD-3-Clause

/*
 * os_malloc and os_free as plainly as the rules can be written, for steps.sh to compare with: every
 * call walks the list, once to coalesce and once to search. One region, no mappings, no checks.
 */

#include <stdbool.h>
#include <unistd.h>

#include "block_meta.h"
#include "osmem.h"

#define META sizeof(struct block_meta)
#define FIRST_RAISE ((size_t)128 << 10)

static struct block_meta *first, *last;

static void link_behind(struct block_meta *a, struct block_meta *b)
{
	b->prev = a;
	b->next = a ? a->next : NULL;
	if (a)
		a->next = b;
	else
		first = b;
	if (b->next)
		b->next->prev = b;
	else
		last = b;
}

static bool raise_break(size_t size)
{
	return sbrk((intptr_t)size) != (void *)-1;
}

/* A new last block, free. */
static struct block_meta *append(size_t size)
{
	struct block_meta *b = sbrk(0);

	if (!raise_break(META + size))
		return NULL;
	b->size = size;
	b->status = STATUS_FREE;
	link_behind(last, b);
	return b;
}

static void coalesce(void)
{
	for (struct block_meta *b = first; b; b = b->next)
		while (b->status == STATUS_FREE && b->next && b->next->status == STATUS_FREE) {
			b->size += META + b->next->size;
			b->next = b->next->next;
			if (b->next)
				b->next->prev = b;
			else
				last = b;
		}
}

static struct block_meta *search(size_t size)
{
	struct block_meta *best = NULL;

	for (struct block_meta *b = first; b; b = b->next)
		if (b->status == STATUS_FREE && b->size >= size && (!best || b->size < best->size))
			best = b;
	return best;
}

static void split(struct block_meta *b, size_t size)
{
	struct block_meta *rest = (struct block_meta *)(void *)((char *)(b + 1) + size);

	if (b->size - size < META + 8)
		return;
	rest->size = b->size - size - META;
	rest->status = STATUS_FREE;
	link_behind(b, rest);
	b->size = size;
}

static struct block_meta *grow(size_t size)
{
	if (last->status != STATUS_FREE)
		return append(size);
	if (!raise_break(size - last->size))
		return NULL;
	last->size = size;
	return last;
}

void *os_malloc(size_t size)
{
	struct block_meta *b;

	size = (size + 7) / 8 * 8;
	if (!first && !append(FIRST_RAISE - META))
		return NULL;
	coalesce();
	b = search(size);
	if (!b)
		b = grow(size);
	if (!b)
		return NULL;
	split(b, size);
	b->status = STATUS_ALLOC;
	return b + 1;
}

void os_free(void *p)
{
	if (p)
		((struct block_meta *)p - 1)->status = STATUS_FREE;
}
