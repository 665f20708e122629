// SPDX-License-Identifier: BSD-3-Clause

#include "fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "helpers.h"
#include "lock.h"

_Thread_local uint32_t fork_parent;

static uint32_t repaired; /* the last process that was repaired */
static void (*repair)(void);

static void repair_child(void)
{
	repaired = sys_process();
	repair();
}

/* Handlers of others run between prepare and the fork, and between the fork and child. */
void fork_check_slow(void)
{
	if (sys_process() == fork_parent)
		return;
	fork_parent = 0;
	repair_child();
}

static void prepare(void)
{
	lock_prepare_fork();
	fork_parent = sys_process();
}

static void parent(void)
{
	fork_parent = 0;
}

/* The process id alone is ambiguous: parent and child may both be process 1 of a namespace. */
static void child(void)
{
	bool is_repaired = !fork_parent && repaired == sys_process();

	fork_parent = 0;
	if (!is_repaired)
		repair_child();
}

/* pthread_atfork may allocate and so call this again. */
void fork_guard(void (*function)(void))
{
	static atomic_flag is_done = ATOMIC_FLAG_INIT;

	if (atomic_flag_test_and_set(&is_done))
		return;
	repair = function;
	pthread_atfork(prepare, parent, child);
}
