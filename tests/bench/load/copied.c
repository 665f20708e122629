// SPDX-License-Identifier: BSD-3-Clause

/*
 * A process forks while it has many small objects, and the child frees some of them at random: a
 * server that saves a snapshot, or a pool of workers. Each page that free writes to is copied.
 *
 *	copied [MIB [PERCENT]]
 *
 * Prints how many MiB of the child's memory became its own by freeing PERCENT (5) of the objects.
 */

#include <sys/wait.h>

#include "load.h"
#include "resident.h"

#define SMALLEST 16
#define LARGEST 512

static void **objects;
static size_t count, percent;

static void make_objects(size_t bytes)
{
	uint64_t seed = load_seed(0);

	objects = load_block(bytes / SMALLEST * sizeof(*objects));
	for (size_t done = 0; done < bytes; count++) {
		size_t size = load_between(&seed, SMALLEST, LARGEST);

		objects[count] = load_checked(malloc(size));
		memset(objects[count], 1, size);
		done += size;
	}
}

static void free_some(void)
{
	uint64_t seed = load_seed(1);

	for (size_t i = 0; i < count; i++)
		if (load_below(&seed, 100) < percent)
			free(objects[i]);
}

static int be_child(void)
{
	size_t base = private_kib();

	free_some();
	printf("%.2f\n", ((double)private_kib() - (double)base) / 1024);
	return 0;
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	percent = load_argument(argc, argv, 2, 5);
	make_objects(load_argument(argc, argv, 1, 200) << 20);
	pid = fork();
	if (pid == 0)
		return be_child();
	return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}
