// SPDX-License-Identifier: BSD-3-Clause

/* A C++ plugin of a C program (host.c): the C++ runtime is loaded after everything else, and
 * hidden. */

#include <stddef.h>
#include <stdint.h>

#include <new>

static volatile size_t huge = PTRDIFF_MAX;
static void *volatile sink;

static void throw_int()
{
	throw 42;
}

static bool new_throws()
{
	try {
		sink = ::operator new(huge);
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

static bool aligned_new_throws(size_t align)
{
	try {
		sink = ::operator new[](huge, (std::align_val_t)align);
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

/* 0, or the number of the step that went wrong. */
extern "C" __attribute__((visibility("default"))) int plugin_main()
{
	int *p = new int[100];

	delete[] p;
	if (!new_throws())
		return 1;
	if (!aligned_new_throws(64) || !aligned_new_throws(24))
		return 2;
	if (::operator new(huge, std::nothrow))
		return 3;
	std::set_new_handler(throw_int);
	if (::operator new(huge, std::nothrow))
		return 4;
	if (::operator new[](huge, (std::align_val_t)64, std::nothrow))
		return 5;
	return 0;
}
