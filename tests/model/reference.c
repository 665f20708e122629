// SPDX-License-Identifier: BSD-3-Clause

/*
 * The four functions over the naive model, for the programs in snippets/: linked with one, they
 * print what ltrace is to see, the call with its result and below it the system calls it makes.
 * This is how "make references" writes snippets/NAME.ref without the library having a say in it.
 */

#include "naive.h"

#include "block_meta.h"
#include "osmem.h"

#include <string.h>
#include <unistd.h>

#define META ((size_t)32)
#define HEAP_SIZE ((size_t)16 << 20)
#define MAPPING_SIZE ((size_t)6 << 20)
#define MAPPINGS 64 /* in the life of a snippet */
#define NAME_SIZE 64

static struct naive_heap heap;
static char heap_memory[HEAP_SIZE] __attribute__((aligned(16)));

/* Mapped blocks in the order they were made; never used again. */
static char mapping_memory[MAPPINGS][MAPPING_SIZE] __attribute__((aligned(16)));
static struct naive_block *mapped[MAPPINGS];
static size_t mappings;

/* Before a call; what the call has done is seen by comparing. */
static size_t end_before;
static size_t mappings_before;

static void begin(void)
{
	if (!heap.page_size)
		naive_init(&heap, 4096, NAIVE_RIGHT);
	end_before = heap.end;
	mappings_before = mappings;
}

static size_t mapping_of(const struct naive_block *b)
{
	for (size_t i = mappings; i-- > 0;)
		if (mapped[i] == b)
			return i;
	abort();
}

static void *pointer_to(const struct naive_block *b)
{
	if (!b)
		return NULL;
	if (b->status == STATUS_MAPPED)
		return mapping_memory[mapping_of(b)] + META;
	return heap_memory + b->offset + META;
}

static struct naive_block *block_at(void *p)
{
	struct naive_block *b = heap.first;

	if (!p)
		return NULL;
	for (size_t i = 0; i < mappings; i++)
		if (p == mapping_memory[i] + META)
			return mapped[i];
	while (heap_memory + b->offset + META != p)
		b = b->next;
	return b;
}

static const char *name_of(const struct naive_block *b, char *name)
{
	if (!b)
		snprintf(name, NAME_SIZE, "0");
	else if (b->status == STATUS_MAPPED)
		snprintf(name, NAME_SIZE, "Mapped%zu + %#zx", mapping_of(b) + 1, META);
	else
		snprintf(name, NAME_SIZE, "HeapStart + %#zx", b->offset + META);
	return name;
}

/* Headers as a program may read them: it is told the truth of every block that there is. */
static void write_headers(void)
{
	for (const struct naive_block *b = heap.first; b; b = b->next)
		*(struct block_meta *)(void *)(heap_memory + b->offset) =
			(struct block_meta){.size = b->size, .status = b->status};
	for (size_t i = 0; i < mappings; i++)
		if (mapped[i])
			*(struct block_meta *)(void *)mapping_memory[i] = (struct block_meta){
				.size = mapped[i]->size, .status = STATUS_MAPPED};
}

/* b is what a call has placed anew, if it has: a mapped one needs memory. */
static void note_mapping(struct naive_block *b)
{
	if (!b || b->status != STATUS_MAPPED)
		return;
	if (mappings == MAPPINGS || META + b->size > MAPPING_SIZE)
		abort();
	mapped[mappings++] = b;
}

static void print_growth(void)
{
	if (heap.end == end_before)
		return;
	if (end_before == 0)
		printf("  brk (['0']) = HeapStart + 0x0\n");
	printf("  brk (['HeapStart + %#zx']) = HeapStart + %#zx\n", heap.end, heap.end);
}

static void print_mapping(void)
{
	if (mappings > mappings_before)
		printf("  mmap (['0', '%zu', '3', '34', '-1', '0']) = Mapped%zu + 0x0\n",
		       META + mapped[mappings - 1]->size, mappings);
}

/* Mapping number i, of size payload bytes, is no more. */
static void print_unmapping(size_t i, size_t size)
{
	printf("  munmap (['Mapped%zu + 0x0', '%zu']) = 0\n", i + 1, META + size);
	mapped[i] = NULL;
}

static void *end_alloc(struct naive_block *b)
{
	char name[NAME_SIZE];

	note_mapping(b);
	printf("%s\n", name_of(b, name));
	print_growth();
	print_mapping();
	write_headers();
	return pointer_to(b);
}

void *os_malloc(size_t size)
{
	begin();
	printf("os_malloc (['%zu']) = ", size);
	return end_alloc(naive_malloc(&heap, size));
}

void *os_calloc(size_t nmemb, size_t size)
{
	size_t product;
	void *p;

	begin();
	printf("os_calloc (['%zu', '%zu']) = ", nmemb, size);
	if (__builtin_mul_overflow(nmemb, size, &product))
		return end_alloc(NULL);
	p = end_alloc(naive_calloc(&heap, nmemb, size));
	return p ? memset(p, 0, product) : NULL;
}

void os_free(void *p)
{
	struct naive_block was = {0}, *b = block_at(p);
	char name[NAME_SIZE];
	size_t i = 0;

	begin();
	printf("os_free (['%s']) = <void>\n", name_of(b, name));
	if (b)
		was = *b;
	if (was.status == STATUS_MAPPED)
		i = mapping_of(b);
	naive_free(&heap, b);
	if (was.status == STATUS_MAPPED)
		print_unmapping(i, was.size);
	write_headers();
}

/* os_realloc of p, which is b and live, to size, which is not 0. */
static void *resize(char *p, struct naive_block *b, size_t size)
{
	struct naive_block was = *b, *to;
	size_t i = was.status == STATUS_MAPPED ? mapping_of(b) : 0;
	char *q;

	to = naive_realloc(&heap, b, size);
	if (to != b || was.status == STATUS_MAPPED)
		note_mapping(to);
	q = pointer_to(to);
	if (q != p)
		memcpy(q, p, was.size < size ? was.size : size);
	printf("%s\n", name_of(to, (char[NAME_SIZE]){0}));
	print_growth();
	print_mapping();
	if (was.status == STATUS_MAPPED)
		print_unmapping(i, was.size);
	write_headers();
	return q;
}

void *os_realloc(void *p, size_t size)
{
	struct naive_block *b = block_at(p);
	char name[NAME_SIZE];

	begin();
	printf("os_realloc (['%s', '%zu']) = ", name_of(b, name), size);
	if (!b)
		return end_alloc(naive_malloc(&heap, size));
	if (b->status == STATUS_FREE)
		return end_alloc(naive_realloc(&heap, b, size));
	if (size > 0)
		return resize(p, b, size);
	printf("0\n");
	if (b->status == STATUS_MAPPED)
		print_unmapping(mapping_of(b), b->size);
	naive_free(&heap, b);
	return NULL;
}
