// SPDX-License-Identifier: BSD-3-Clause

#include "course.h"

#include "block/block.h"
#include "fork.h"
#include "helpers.h"
#include "large/large.h"
#include "words.h"

bool course_start(void)
{
	if (!words_have(sys_options(), "course"))
		return false;
	if (block_serve_malloc())
		return true;
	sys_report("OSMEM_OPTIONS: course: ignored, because os_malloc was called before malloc");
	return false;
}

void *course_alloc(size_t size, size_t align)
{
	fork_check();
	return align <= CELL_ALIGN ? block_malloc(size) : block_memalign(size, align);
}

void *course_alloc_zeroed(size_t size)
{
	fork_check();
	return block_calloc(size);
}

void *course_realloc(const char *call, void *p, size_t size)
{
	fork_check();
	return block_realloc(call, p, size);
}

void course_free(const char *call, void *p)
{
	fork_check();
	if (p)
		block_free(call, p);
}

bool course_may_have(size_t usable, size_t size)
{
	return size <= usable && usable - round_up(size, CELL_ALIGN) <= BLOCK_EXCESS_MAX;
}

size_t course_usable_size(const char *call, void *p)
{
	size_t size;

	fork_check();
	size = block_capacity(call, p);
	return size ? size : LARGE_BAD;
}
