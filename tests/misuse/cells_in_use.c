// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Cells that are freed twice, and in use again when their first entry, which a cache or the store
 * still has, goes back. Their users write what a purged page has, too: zeros.
 */

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "block_meta.h"
#include "harness.h"
#include "misuse.h"
#include "osmem.h"
#include "pointers.h"

#define WRITTEN_TO "this free block was written to, or freed twice"
#define MANY 5000

static char *many_cells[MANY];

/* A second call of p, and what its next user writes. */
struct second {
	const struct call *call;
	char *p;
	size_t size;
	char fill;
};

/* 1: the user of p has it no more to itself. */
static void free_take_and_trim(void *arg)
{
	const struct second *s = arg;
	char *p;

	s->call->run(s->p);
	p = new_cell(s->size);
	CHECK(p == s->p);
	memset(p, s->fill, s->size);
	malloc_trim(0);
	for (size_t i = 0; i < MANY; i++) {
		char *q = new_cell(s->size);

		if (q == p || p[0] != s->fill || p[s->size - 1] != s->fill)
			exit(1);
	}
}

/* p, a cell of size bytes, is free, and has not been freed last: see above. */
static void expect_in_use(char *p, size_t size)
{
	for (const struct call *call = libc.calls; call->name; call++) {
		for (int fill = 0; fill < 2; fill++) {
			struct second s = {call, p, size, fill ? 0x55 : 0};
			char err[256];
			int status = test_in_child(free_take_and_trim, &s, err, sizeof(err));

			CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
					  (strstr(err, ALREADY_FREE) || strstr(err, WRITTEN_TO)),
				  "%s of %zu bytes: status %d, %s", call->name, size, status, err);
		}
	}
}

/* The slab becomes empty, or has a live cell. */
TEST(cell_freed_twice_that_is_in_use_when_a_cache_goes_back)
{
	EACH_CELL_SIZE(size)
	{
		for (int neighbors = 0; neighbors < 2; neighbors++) {
			char *p = new_cell(size), *q = new_cell(size);

			CHECK(!neighbors || new_cell(size));
			free(p);
			free(q);
			expect_in_use(p, size);
		}
	}
}

/* Most of them are in the store, and some are near live ones. */
TEST(cell_freed_twice_that_is_in_use_when_pages_go_back)
{
	static const size_t sizes[] = {16, 112, 1024, 5120, 8192, CELL_MAX};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t live = sizes[i] > 1024 ? 4 : 16; /* no slab becomes empty */

		for (size_t j = 0; j < MANY; j++)
			many_cells[j] = new_cell(sizes[i]);
		for (size_t j = 0; j < MANY; j++)
			if (j % live)
				free(many_cells[j]);
		for (size_t j = 9; j < MANY; j += 16 * 29)
			expect_in_use(many_cells[j], sizes[i]);
		for (size_t j = 0; j < MANY; j += live)
			free(many_cells[j]);
	}
}
