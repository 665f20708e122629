// SPDX-License-Identifier: BSD-3-Clause

#include "fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "helpers.h"

_Thread_local uint32_t fork_parent;

static uint32_t whole; /* the last process that was made whole */
static void (*repair)(void);

static void repair_child(void)
{
	whole = sys_process();
	repair();
}

/* Other handlers run between these and the fork. */

void fork_check_slow(void)
{
	if (sys_process() == fork_parent)
		return;
	fork_parent = 0;
	repair_child();
}

static void prepare(void)
{
	fork_parent = sys_process();
}

static void parent(void)
{
	fork_parent = 0;
}

/* Parent and child may both be process 1, of two namespaces: so the number alone does not tell. */
static void child(void)
{
	bool is_whole = !fork_parent && whole == sys_process();

	fork_parent = 0;
	if (!is_whole)
		repair_child();
}

/* pthread_atfork may allocate: it finds this done. */
void fork_guard(void (*function)(void))
{
	static atomic_flag is_done = ATOMIC_FLAG_INIT;

	if (atomic_flag_test_and_set(&is_done))
		return;
	repair = function;
	pthread_atfork(prepare, parent, child);
}
