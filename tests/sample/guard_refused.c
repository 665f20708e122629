// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/* Guarded blocks where the kernel refuses memory, or a change of protection. */

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "guard_common.h"
#include "refusals.h"

TEST(no_memory_to_begin)
{
	size_t mapped;

	stack_begin();
	free(malloc(1));
	mapped = kernel.mapped;
	for (size_t call = 1; call <= 2; call++) {
		refuse(call, call);
		CHECK(!guard_begin() && errno == ENOMEM && kernel.failures == 1);
		CHECK(!guard_owns(&call) && !guard_alloc(10, 16));
		CHECK(!guard_check());
		refuse_nothing();
		CHECK_MSG(kernel.mapped == mapped, "%zu bytes more", kernel.mapped - mapped);
		/* Without guards there is no handler. */
		CHECK(signal(SIGSEGV, SIG_DFL) == SIG_DFL);
	}
	guards_begin();
	free(guarded(10));
}

TEST(a_slot_that_cannot_be_opened)
{
	char *p;

	guards_begin();
	p = guarded(100);
	free(p);
	refuse(1, SIZE_MAX);
	for (size_t i = 0; i < 3 * GUARD_SLOTS; i++)
		CHECK(!guard_alloc(100, 16));
	CHECK(kernel.failures == 3 * GUARD_SLOTS);
	refuse_nothing();
	CHECK(!guard_check());
	for (size_t i = 0; i < GUARD_SLOTS; i++)
		guarded(100);
}

static void touch(void *p)
{
	*(volatile char *)p = 1;
}

/* Its pages stay, but are inaccessible. */
TEST(pages_that_cannot_be_released)
{
	char said[4096], *p;
	int status;

	guards_begin();
	for (size_t i = 0; i < 2 * GUARD_SLOTS; i++) {
		p = guard_alloc(5000, 16);
		CHECK(p && is_all(p, 5000, 0));
		memset(p, 1, 5000);
		refuse(1, 1);
		free(p);
		CHECK(kernel.failures == 1);
		refuse_nothing();
		CHECK(!is_accessible(p) && !guard_check());
	}
	status = test_in_child(touch, p, said, sizeof(said));
	CHECK(WIFSIGNALED(status) && strstr(said, "use after free"));
}

/* Nothing is noticed, and nothing is lost: the next free closes the slot. */
TEST(a_slot_that_cannot_be_closed)
{
	static char *last[GUARD_SLOTS];

	guards_begin();
	for (size_t i = 0; i < 2 * GUARD_SLOTS; i++) {
		char *p = guard_alloc(5000, 16);

		CHECK(p && is_all(p, 5000, 0));
		memset(p, 1, 5000);
		refuse(1, SIZE_MAX);
		errno = 77;
		free(p);
		CHECK(errno == 77 && kernel.failures == 2);
		refuse_nothing();
		CHECK(is_accessible(p) && !guard_check());
		last[i % GUARD_SLOTS] = p;
	}
	for (size_t i = 0; i < GUARD_SLOTS; i++) {
		free(guarded(1));
		CHECK(!is_accessible(last[i]));
	}
}

TEST(refused_at_random)
{
	char *p[GUARD_SLOTS] = {0};
	size_t size[GUARD_SLOTS], made = 0;
	uint64_t state = 1;

	guards_begin();
	refuse_at_random(300, 5);
	for (int step = 0; step < 20000; step++) {
		size_t i = random_below(&state, COUNT_OF(p));

		if (p[i]) {
			CHECK(is_all(p[i], size[i], (unsigned char)i));
			free(p[i]);
		}
		size[i] = random_below(&state, 9000);
		p[i] = guard_alloc(size[i], 16);
		made += !!p[i];
		if (p[i])
			memset(p[i], (int)i, size[i]);
	}
	refuse_nothing();
	CHECK_MSG(!guard_check(), "%s", guard_check());
	CHECK(made > 1000);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		guarded(100);
}
