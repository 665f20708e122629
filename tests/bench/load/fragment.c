// SPDX-License-Identifier: BSD-3-Clause

/*
 * Fragmentation: one of the traces of fragment.h.
 *
 *	fragment [MIB [TRACE [peak|steady [PAUSE_MS]]]]
 *
 * MIB live at once, about. Prints memory in use over live bytes in percent: the most that any step
 * ended with over the most that lived, or the mean of the last quarter's steps over the mean that
 * lived then. The program's own memory, as it was before, does not count. After each step the
 * program does little for PAUSE_MS, as most programs do most of the time.
 */

#include "fragment.h"
#include "resident.h"

/* 20 small objects each millisecond. */
static void pause_lightly(size_t ms, uint64_t *seed)
{
	for (size_t i = 0; i < 20 * ms; i++) {
		if (i % 20 == 0)
			usleep(1000);
		free(memset(load_checked(malloc(load_between(seed, 16, 516))), 1, 16));
	}
}

int main(int argc, char **argv)
{
	const struct fragment_trace *trace = fragment_find(argc > 2 ? argv[2] : "sawtooth");
	bool is_steady = argc > 3 && strcmp(argv[3], "steady") == 0;
	size_t base, in_use = 0, live = 0;
	uint64_t seed = load_seed(0);

	if (!trace)
		return 2;
	fragment_begin(load_argument(argc, argv, 1, 32) << 20);
	base = resident_kib();
	for (unsigned int step = 0; step < FRAGMENT_STEPS; step++) {
		size_t bytes, now;

		trace->step(step, &seed);
		pause_lightly(load_argument(argc, argv, 4, 0), &seed);
		bytes = fragment_live();
		now = resident_kib() - base;
		if (!is_steady) {
			in_use = now > in_use ? now : in_use;
			live = bytes > live ? bytes : live;
		} else if (step >= FRAGMENT_STEPS - FRAGMENT_PERIOD) {
			in_use += now;
			live += bytes;
		}
	}
	printf("%.1f\n", 100.0 * 1024 * (double)in_use / (double)live);
	return 0;
}
