// SPDX-License-Identifier: BSD-3-Clause

/* Its constructor tells the program that it runs, and does not end. */

#include <semaphore.h>
#include <unistd.h>

extern sem_t plugin_runs;

__attribute__((constructor)) static void stay(void)
{
	sem_post(&plugin_runs);
	for (;;)
		pause();
}
