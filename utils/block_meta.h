/* SPDX-License-Identifier: BSD-3-Clause */

#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* For test programs: print the location and the error, and exit with errno. */
#define DIE(assertion, call_description)                                                           \
	do {                                                                                       \
		if (assertion) {                                                                   \
			fprintf(stderr, "(%s, %d): ", __FILE__, __LINE__);                         \
			perror(call_description);                                                  \
			exit(errno);                                                               \
		}                                                                                  \
	} while (0)

/*
 * The header of a block, in front of its payload.
 *
 *      payload - 32                    - 20   - 16       - 8        payload
 *      +----------------+--------------+------+----------+----------+------------------ - -
 *      | size           | status       | (pad)| prev     | next     | size bytes
 *      +----------------+--------------+------+----------+----------+------------------ - -
 */
struct block_meta {
	size_t size; /* capacity of the payload in bytes, a multiple of 8 */
	int status; /* STATUS_FREE, STATUS_ALLOC or STATUS_MAPPED */
	struct block_meta *prev; /* neighbours in address order, NULL at the ends */
	struct block_meta *next;
};

#define STATUS_FREE 0 /* in the heap, free */
#define STATUS_ALLOC 1 /* in the heap, allocated */
#define STATUS_MAPPED 2 /* its own mapping, allocated */
