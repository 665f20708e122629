// SPDX-License-Identifier: BSD-3-Clause

/*
 * Requests: each makes some dozens of blocks of all sizes, frees some on the way and the others at
 * its end in the order of allocation; now and then a block stays, in a session that is dropped much
 * later. Web servers and database sessions.
 *
 *	requests [REQUESTS [THREADS]]
 */

#include "load.h"

#define LONGEST 120
#define SESSIONS 4000

static size_t requests;

static void request(uint64_t *seed, void **sessions)
{
	size_t length = load_between(seed, 20, LONGEST), session = load_below(seed, SESSIONS);
	void *blocks[LONGEST];

	for (size_t i = 0; i < length; i++) {
		size_t earlier = load_below(seed, i + 1);

		blocks[i] = load_block(load_size(seed));
		if (earlier % 4 == 0) {
			free(blocks[earlier]);
			blocks[earlier] = NULL;
		}
	}
	free(sessions[session]);
	sessions[session] = blocks[length - 1];
	for (size_t i = 0; i < length - 1; i++)
		free(blocks[i]);
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	void **sessions = load_checked(calloc(SESSIONS, sizeof(*sessions)));

	for (size_t i = 0; i < requests; i++)
		request(&seed, sessions);
	for (size_t i = 0; i < SESSIONS; i++)
		free(sessions[i]);
	free(sessions);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	requests = load_argument(argc, argv, 1, 120000) / threads;
	load_threads(threads, work);
	return 0;
}
