// SPDX-License-Identifier: BSD-3-Clause

#include "blocks.h"

#include "harness.h"
#include "osmem.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct block_meta *header(const void *p)
{
	return (struct block_meta *)(uintptr_t)p - 1;
}

static char *end_of_block(const struct block_meta *b)
{
	return (char *)(uintptr_t)(b + 1) + b->size;
}

char *end_of(const void *p)
{
	return end_of_block(header(p));
}

bool is_in_heap(const void *p)
{
	return header(p)->status == STATUS_ALLOC;
}

bool is_mapped(const void *p)
{
	return header(p)->status == STATUS_MAPPED;
}

bool is_unmapped(void *p)
{
	uintptr_t page = (uintptr_t)p & -page_size();
	unsigned char vec;

	return mincore((void *)page, 1, &vec) < 0 && errno == ENOMEM;
}

size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static unsigned char byte_at(size_t i, unsigned int seed)
{
	return (unsigned char)(seed + i * 7 + (i >> 8));
}

void fill(void *p, size_t size, unsigned int seed)
{
	unsigned char *bytes = p;

	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at(i, seed);
}

bool holds(const void *p, size_t size, unsigned int seed)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != byte_at(i, seed))
			return false;
	return true;
}

bool is_zero(const void *p, size_t size)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

char *pass_1_mib(void)
{
	char *p = os_malloc(131032);

	for (size_t i = 0; i < 20; i++)
		p = os_malloc(100000);
	return p;
}

struct block_meta *first_block(const void *p)
{
	struct block_meta *b = header(p);

	while (b->prev)
		b = b->prev;
	return b;
}

static struct block_meta *last_block(const void *p)
{
	struct block_meta *b = header(p);

	while (b->next)
		b = b->next;
	return b;
}

/* What must hold of any block in the list, and of it and the next. */
static void check_block(const struct block_meta *b)
{
	CHECK(b->status == STATUS_FREE || b->status == STATUS_ALLOC);
	CHECK(b->size > 0 && b->size % 8 == 0);
	CHECK((uintptr_t)b % 8 == 0);
	if (b->next) {
		CHECK(b->next->prev == b);
		CHECK((char *)b->next >= end_of_block(b));
	}
}

static const char *space_before(const struct block_meta *b)
{
	if (!b->prev)
		return "";
	return end_of_block(b->prev) == (const char *)b ? " " : " | ";
}

const char *heap_text(const void *p)
{
	static char text[400];
	size_t n = 0;

	text[0] = '\0';
	for (const struct block_meta *b = first_block(p); b; b = b->next) {
		check_block(b);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%c%zu", space_before(b),
				      b->status == STATUS_FREE ? 'f' : 'a', b->size);
		CHECK(n < sizeof(text));
	}
	return text;
}

void expect_heap(const char *file, int line, const void *p, const char *text, bool is_exact)
{
	const char *is = heap_text(p);
	char *end = end_of_block(last_block(p)), *now = sbrk(0);

	if (strcmp(is, text) != 0)
		test_fail(file, line, "heap \"%s\", not \"%s\"", is, text);
	if (is_exact && now != end)
		test_fail(file, line, "the break is %td bytes behind the heap's end", now - end);
}
