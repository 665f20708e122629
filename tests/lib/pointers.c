// SPDX-License-Identifier: BSD-3-Clause

#include "pointers.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "osmem.h"

/* The calls. */

static void call_realloc(void *p)
{
	free(realloc(p, 50));
}

static void call_realloc_zero(void *p)
{
	free(realloc(p, 0));
}

static void call_reallocarray(void *p)
{
	free(reallocarray(p, 10, 5));
}

static void call_usable_size(void *p)
{
	malloc_usable_size(p);
}

static void call_free_sized(void *p)
{
	free_sized(p, 50);
}

static void call_free_aligned_sized(void *p)
{
	free_aligned_sized(p, 16, 50);
}

static void call_os_realloc(void *p)
{
	os_free(os_realloc(p, 50));
}

static void call_os_realloc_zero(void *p)
{
	os_free(os_realloc(p, 0));
}

static const struct call course_calls[] = {
	{.name = "os_free", .run = os_free},
	{.name = "os_realloc", .run = call_os_realloc, .allows_free = true},
	{.name = "os_realloc", .run = call_os_realloc_zero, .allows_free = true},
	{.name = NULL},
};

static const struct call libc_calls[] = {
	{.name = "free", .run = free},
	{.name = "realloc", .run = call_realloc},
	{.name = "realloc", .run = call_realloc_zero},
	{.name = "realloc", .run = call_reallocarray},
	{.name = "malloc_usable_size", .run = call_usable_size},
	{.name = "free_sized", .run = call_free_sized},
	{.name = "free_aligned_sized", .run = call_free_aligned_sized},
	{.name = NULL},
};

const struct family course = {
	.allocator = "os_malloc",
	.grain = 8,
	.alloc = os_malloc,
	.free = os_free,
	.realloc = os_realloc,
	.calls = course_calls,
};

const struct family libc = {
	.allocator = "malloc",
	.grain = 16,
	.alloc = malloc,
	.free = free,
	.realloc = realloc,
	.calls = libc_calls,
};

/* Expectations. */

struct attempt {
	const struct call *call;
	void *p;
};

static void attempt(void *arg)
{
	const struct attempt *a = arg;

	a->call->run(a->p);
}

void expect_line(const struct call *call, void *p, const char *what)
{
	struct attempt a = {.call = call, .p = p};
	char line[512];

	snprintf(line, sizeof(line), "osmem: %s(0x%lx): %s", call->name,
		 (unsigned long)(uintptr_t)p, what);
	EXPECT_ABORT(attempt, &a, line);
}

void expect_all(const struct family *f, void *p, bool is_free, const char *fmt, ...)
{
	char what[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	for (const struct call *call = f->calls; call->name; call++)
		if (!is_free || !call->allows_free)
			expect_line(call, p, what);
}

void expect_free(const struct family *f, void *p)
{
	expect_all(f, p, true, ALREADY_FREE);
}

void expect_inside(const struct family *f, void *p, const char *kind, void *payload, size_t size)
{
	expect_all(f, p, false, "not the start of a block, but inside %s of %lu bytes at 0x%lx",
		   kind, (unsigned long)size, (unsigned long)(uintptr_t)payload);
}
