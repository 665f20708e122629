// SPDX-License-Identifier: BSD-3-Clause

/*
 * What a pair of os_free and os_malloc costs by number of live blocks: a random one is freed and
 * another allocated, over and over, sizes uniform in 16..512. Built a second time upon malloc.
 *
 *	course [LIVE [PAIRS]]
 *
 * Prints nanoseconds of CPU time for a pair, after as many pairs again as there are live blocks to
 * reach the steady state.
 */

#include "load/load.h"

#ifdef USE_OSMEM
#include "osmem.h"
#define ALLOCATE os_malloc
#define RELEASE os_free
#else
#define ALLOCATE malloc
#define RELEASE free
#endif

#define SMALLEST 16
#define LARGEST 512

static uint64_t seed = 42;

static void *block_of_any_size(void)
{
	size_t size = load_between(&seed, SMALLEST, LARGEST);

	return load_touch(ALLOCATE(size), size);
}

static void replace(void **blocks, size_t live, size_t pairs)
{
	for (size_t i = 0; i < pairs; i++) {
		void **block = &blocks[load_below(&seed, live)];

		RELEASE(*block);
		*block = block_of_any_size();
	}
}

/* CPU time, which a busy machine disturbs less than the wall's. */
static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
	size_t live = load_argument(argc, argv, 1, 10000);
	size_t pairs = load_argument(argc, argv, 2, 5000000);
	void **blocks = ALLOCATE(live * sizeof(*blocks));
	double start;

	if (!blocks)
		return 1;
	for (size_t i = 0; i < live; i++)
		blocks[i] = block_of_any_size();
	replace(blocks, live, live);
	start = cpu_ns();
	replace(blocks, live, pairs);
	printf("%.2f\n", (cpu_ns() - start) / (double)pairs);
	return 0;
}
