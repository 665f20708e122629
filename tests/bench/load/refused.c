// SPDX-License-Identifier: BSD-3-Clause

/*
 * What malloc takes to refuse a size that no machine has, as a length that was read from a damaged
 * file asks for.
 *
 *	refused [CALLS]
 *
 * Prints microseconds of CPU time for a call.
 */

#include "load.h"

#define TOO_LARGE ((size_t)1 << 50)

static double cpu_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
	size_t calls = load_argument(argc, argv, 1, 20000);
	double start = cpu_us();

	for (size_t i = 0; i < calls; i++)
		if (malloc(TOO_LARGE))
			return 1;
	printf("%.3f\n", (cpu_us() - start) / (double)calls);
	return 0;
}
