/* SPDX-License-Identifier: BSD-3-Clause */

#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* For test programs: say where and why, and leave with errno as the exit code. */
#define DIE(assertion, call_description)                                                           \
	do {                                                                                       \
		if (assertion) {                                                                   \
			fprintf(stderr, "(%s, %d): ", __FILE__, __LINE__);                         \
			perror(call_description);                                                  \
			exit(errno);                                                               \
		}                                                                                  \
	} while (0)

/*
 * The header in front of every payload.
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
#define STATUS_ALLOC 1 /* in the heap, handed out */
#define STATUS_MAPPED 2 /* a mapping of its own, handed out */
