// SPDX-License-Identifier: BSD-3-Clause

/*
 * Misuse of allocation, each kind at any size, for whatever allocator the process has:
 *
 *	kinds            lists the kinds, a line each: name and what it is
 *	kinds KIND SIZE  commits it
 *
 * An allocator that notices ends the process: by abort, with a line, or by a fault. If the misuse
 * is survived, a line says what came of it: exit status 0 if nothing, SUFFERED if the program is
 * worse off, ABSENT if the allocator has no such function. With KINDS_CHECK in the environment it
 * is worse off, too, if the heaps are not in order in the end.
 */

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define SUFFERED 3
#define ABSENT 4
#define ROW 64

static __attribute__((noreturn)) void end(int status, const char *what)
{
	const char *(*check)(void) = NULL;

	if (status == 0 && getenv("KINDS_CHECK"))
		*(void **)&check = dlsym(RTLD_DEFAULT, "osmem_check");
	if (check && check()) {
		what = check();
		status = SUFFERED;
	}
	printf("%s\n", what);
	fflush(stdout);
	_exit(status);
}

static char *row[ROW]; /* live blocks around the one in question */

/* The ends are enough, and cost less than all of it. */
static void fill(char *p, size_t size, int c)
{
	memset(p, c, size < 64 ? size : 64);
	p[size - 1] = (char)c;
}

static char *new_block(size_t size)
{
	char *p = malloc(size);

	if (!p)
		end(ABSENT, "no memory");
	fill(p, size, 'a');
	return p;
}

/* A block in the middle of others of its size. */
static char *new_row(size_t size)
{
	for (size_t i = 0; i < ROW; i++)
		row[i] = new_block(size);
	return row[ROW / 2];
}

static void free_row_but(const char *but)
{
	for (size_t i = 0; i < ROW; i++)
		if (row[i] != but)
			free(row[i]);
}

/* Not every C library has it. */
#pragma weak malloc_trim

/* Go on as a program does, until what waits in caches has been looked at. One block twice: harm. */
static void go_on(size_t size)
{
	static char *p[512];
	size_t n = size > 65536 ? 16 : 256;

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < n; i++) {
			p[i] = malloc(size);
			if (!p[i])
				continue;
			fill(p[i], size, (int)i);
			for (size_t j = 0; j < i; j++)
				if (p[j] == p[i])
					end(SUFFERED, "one block was handed out twice");
		}
		for (size_t i = 0; i < n; i++)
			free(p[i]);
		if (malloc_trim)
			malloc_trim(0);
	}
}

/* Double frees. */

static void twice(size_t size)
{
	char *p = new_row(size);

	free(p);
	free(p);
	go_on(size);
}

static void twice_delayed(size_t size)
{
	char *p = new_row(size);

	free(p);
	for (size_t i = 0; i < ROW; i += 3)
		if (row[i] != p)
			free(row[i]);
	free(p);
	go_on(size);
}

static void twice_interleaved(size_t size)
{
	char *p = new_row(size);

	free(p);
	free(row[3]);
	free(p);
	go_on(size);
}

/* The neighbours are handed out again, and it is not. */
static void twice_after_reuse(size_t size)
{
	char *p = new_row(size), *q, *r;
	size_t at = ROW / 2;

	free(row[at]);
	free(row[at - 1]);
	free(row[at + 1]);
	q = new_block(size);
	r = new_block(size);
	for (size_t i = at - 1; i <= at + 1; i++)
		if (row[i] != q && row[i] != r)
			p = row[i];
	free(p);
	go_on(size);
}

static void *free_it(void *p)
{
	free(p);
	return NULL;
}

static void twice_from_a_thread(size_t size)
{
	char *p = new_row(size);
	pthread_t thread;

	free(p);
	if (pthread_create(&thread, NULL, free_it, p) == 0)
		pthread_join(thread, NULL);
	go_on(size);
}

/* Pointers that are no block's start, and the calls that are made with them. */

static char *interior(size_t size)
{
	return new_row(size) + (size < 32 ? size : size / 2);
}

static char *unaligned(size_t size)
{
	return new_row(size) + 1;
}

static char *far_away(size_t size)
{
	return (char *)((uintptr_t)new_row(size) ^ (uintptr_t)1 << 45);
}

static char *on_stack(size_t size)
{
	static char *at;
	char buffer[512] __attribute__((aligned(64)));

	memset(buffer, 0, sizeof(buffer));
	at = (char *)((uintptr_t)buffer + 64);
	new_row(size);
	return at;
}

static char *in_static(size_t size)
{
	static char buffer[1024] __attribute__((aligned(64)));

	new_row(size);
	return buffer + 64;
}

static char *in_mapping(size_t size)
{
	char *p = mmap(NULL, 65536 + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	new_row(size);
	return p + 64;
}

/* Two pages behind the highest block, where none has been. */
static char *past_the_end(size_t size)
{
	char *last = new_row(size);

	for (size_t i = 0; i < ROW; i++)
		if (row[i] > last)
			last = row[i];
	return last + ((size + 4095) & ~(size_t)4095) + 8192;
}

static char *freed(size_t size)
{
	char *p = new_row(size);

	free(p);
	return p;
}

static void free_bad(char *p, size_t size)
{
	free(p);
	go_on(size);
}

static void realloc_bad(char *p, size_t size)
{
	char *q = realloc(p, size < 32 ? 256 : 2 * size);

	(void)q;
	go_on(size);
}

static void usable_size_of_bad(char *p, size_t size)
{
	malloc_usable_size(p);
	go_on(size);
}

/* What the block is said to be. */

void free_sized(void *p, size_t size) __attribute__((weak));
void free_aligned_sized(void *p, size_t align, size_t size) __attribute__((weak));
void *operator_new(size_t size) __asm__("_Znwm") __attribute__((weak));
void *operator_new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t")
	__attribute__((weak));
void operator_delete_sized(void *p, size_t size) __asm__("_ZdlPvm") __attribute__((weak));
void operator_delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t")
	__attribute__((weak));

static void need(bool has)
{
	if (!has)
		end(ABSENT, "there is no such function");
}

static void wrong_free_sized(size_t size)
{
	need(free_sized);
	free_sized(new_row(size), 4 * size + 8192);
	go_on(size);
}

static void wrong_free_aligned_sized(size_t size)
{
	need(free_aligned_sized);
	new_row(size);
	free_aligned_sized(aligned_alloc(64, size), 64, 4 * size + 8192);
	go_on(size);
}

static void wrong_delete_sized(size_t size)
{
	need(operator_new && operator_delete_sized);
	operator_delete_sized(operator_new(size), 4 * size + 8192);
	go_on(size);
}

static void wrong_delete_aligned(size_t size)
{
	char *p;

	need(operator_new && operator_delete_aligned);
	p = operator_new(size);
	if ((uintptr_t)p % 65536 == 0) /* as if the aligned new had made it; the next one is not */
		p = operator_new(size + 4096) ? operator_new(size) : NULL;
	operator_delete_aligned(p, 65536);
	go_on(size);
}

/* Writes where they should not go. */

static void overflow_by(size_t size, size_t more)
{
	char *p = new_row(size);

	memset(p + size, 'b', more);
	free(p);
	free_row_but(p);
	go_on(size);
}

static void overflow_one(size_t size)
{
	overflow_by(size, 1);
}

static void overflow_page(size_t size)
{
	overflow_by(size, 4096 + 64);
}

/* What is behind the whole block, or before it, if that is where an allocator has its headers. */
static void header_behind(size_t size)
{
	char *p = new_row(size);

	memset(p + malloc_usable_size(p), 'b', 32);
	free_row_but(NULL);
	go_on(size);
}

static void header_before(size_t size)
{
	char *p = new_row(size);

	memset(p - 16, 'b', 16);
	free(p);
	free_row_but(p);
	go_on(size);
}

static void underflow_one(size_t size)
{
	char *p = new_row(size);

	p[-1] = 'b';
	free(p);
	free_row_but(p);
	go_on(size);
}

/* The first words of a freed block lead to the next one, in many allocators. */
static void link_written(size_t size)
{
	static char target[1024] __attribute__((aligned(64)));
	char *p = new_row(size), *at = target + 64;

	free(row[3]);
	free(row[9]);
	free(p);
	memcpy(p, &at, sizeof(at));
	for (size_t i = 0; i < ROW; i++) {
		char *q = malloc(size);

		if (q >= target && q < target + sizeof(target))
			end(SUFFERED, "memory that is no block was handed out");
	}
	go_on(size);
}

static void write_after_free(size_t size)
{
	static char *q[4 * ROW];
	char *p = new_row(size);

	free(p);
	memset(p, 'b', size);
	for (size_t i = 0; i < 4 * ROW; i++)
		q[i] = new_block(size);
	p[size - 1] = 'c';
	for (size_t i = 0; i < 4 * ROW; i++)
		if (q[i][size - 1] != 'a')
			end(SUFFERED, "another block was written to");
	for (size_t i = 0; i < 4 * ROW; i++)
		free(q[i]);
	go_on(size);
}

static void read_after_free(size_t size)
{
	char *p = new_row(size);
	volatile char *seen = p;

	free(p);
	if (seen[size - 1] == 'a')
		end(SUFFERED, "what was in a freed block can be read");
}

static void reuse_after_free(size_t size)
{
	char *p = new_row(size), *q;

	free(p);
	q = malloc(size);
	if (p == q)
		end(SUFFERED, "a freed block is handed out at once");
}

static void reuse_after_realloc(size_t size)
{
	char *p = new_row(size), *q = realloc(p, 8 * size), *r = malloc(size);

	if (q != p && r == p)
		end(SUFFERED, "a block that moved is handed out at once");
}

/* The size does not matter. */
static void touch_zero_size(size_t size)
{
	volatile size_t zero = 0; /* compilers know what malloc(0) is */
	volatile char *p = malloc(zero);

	need(p);
	p[0] = 1;
	go_on(size);
}

struct kind {
	const char *name;
	const char *what;
	void (*commit)(size_t size);
	char *(*pointer)(size_t size); /* and call, instead of commit */
	void (*call)(char *p, size_t size);
};

#define CALLS(name_, what_, pointer_)                                                              \
	{.name = "free-" name_, .what = "free of " what_, .pointer = pointer_, .call = free_bad},  \
		{.name = "realloc-" name_,                                                         \
		 .what = "realloc of " what_,                                                      \
		 .pointer = pointer_,                                                              \
		 .call = realloc_bad},                                                             \
	{                                                                                          \
		.name = "usable-" name_, .what = "malloc_usable_size of " what_,                   \
		.pointer = pointer_, .call = usable_size_of_bad                                    \
	}

static const struct kind kinds[] = {
	{.name = "twice", .what = "double free, at once", .commit = twice},
	{.name = "twice-delayed",
	 .what = "double free, after other frees",
	 .commit = twice_delayed},
	{.name = "twice-interleaved",
	 .what = "double free, another in between",
	 .commit = twice_interleaved},
	{.name = "twice-reuse",
	 .what = "double free, after reuse of neighbours",
	 .commit = twice_after_reuse},
	{.name = "twice-thread",
	 .what = "double free, from another thread",
	 .commit = twice_from_a_thread},
	CALLS("interior", "a pointer into a block", interior),
	CALLS("unaligned", "an unaligned pointer", unaligned),
	CALLS("far", "a pointer far away", far_away),
	CALLS("stack", "the stack", on_stack),
	CALLS("static", "static data", in_static),
	CALLS("mapping", "another allocator's memory", in_mapping),
	CALLS("past", "what is past the last block", past_the_end),
	{.name = "realloc-freed",
	 .what = "realloc of a freed block",
	 .pointer = freed,
	 .call = realloc_bad},
	{.name = "usable-freed",
	 .what = "malloc_usable_size of a freed block",
	 .pointer = freed,
	 .call = usable_size_of_bad},
	{.name = "sized", .what = "free_sized, wrong size", .commit = wrong_free_sized},
	{.name = "aligned-sized",
	 .what = "free_aligned_sized, wrong size",
	 .commit = wrong_free_aligned_sized},
	{.name = "delete-sized", .what = "sized delete, wrong size", .commit = wrong_delete_sized},
	{.name = "delete-aligned",
	 .what = "aligned delete of what plain new made",
	 .commit = wrong_delete_aligned},
	{.name = "link", .what = "link in a freed block overwritten", .commit = link_written},
	{.name = "header-before",
	 .what = "16 bytes before a block overwritten",
	 .commit = header_before},
	{.name = "header-behind",
	 .what = "32 bytes behind a block overwritten",
	 .commit = header_behind},
	{.name = "overflow-one", .what = "overflow by one byte", .commit = overflow_one},
	{.name = "underflow-one", .what = "underflow by one byte", .commit = underflow_one},
	{.name = "overflow-page", .what = "overflow by a page", .commit = overflow_page},
	{.name = "write-freed", .what = "write after free", .commit = write_after_free},
	{.name = "read-freed", .what = "read after free", .commit = read_after_free},
	{.name = "reuse-free", .what = "reuse at once after free", .commit = reuse_after_free},
	{.name = "reuse-realloc",
	 .what = "reuse at once after realloc",
	 .commit = reuse_after_realloc},
	{.name = "zero", .what = "write to a zero-size block", .commit = touch_zero_size},
};

int main(int argc, char **argv)
{
	size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	const struct rlimit no_core = {0};

	setrlimit(RLIMIT_CORE, &no_core);
	for (const struct kind *k = kinds; k < kinds + sizeof(kinds) / sizeof(kinds[0]); k++) {
		if (argc < 3) {
			printf("%s %s\n", k->name, k->what);
		} else if (!strcmp(k->name, argv[1])) {
			if (k->commit)
				k->commit(size);
			else
				k->call(k->pointer(size), size);
			end(0, "nothing was noticed");
		}
	}
	if (argc >= 3)
		fprintf(stderr, "kinds: no kind %s\n", argv[1]);
	return argc < 3 ? 0 : 2;
}
