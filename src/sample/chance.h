/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Random numbers and probabilities of sampling. All are integers: floating point would set the
 * program's exception flags, or trap if the program has enabled exceptions.
 *
 * Any thread may call; nothing is locked.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Choose another sequence of random numbers: at the start and in a forked child. */
void chance_seed(void);

/* 64 random bits. */
uint64_t chance_random(void);

/*
 * Bytes before the next one that is hit, if each is hit at a rate of 1 / mean: an exponential
 * variable with that mean, rounded down. So size bytes have a hit if the distance is less than
 * size: with probability 1 - exp(-size / mean).
 */
int64_t chance_distance(size_t mean);

/* Whether size bytes have a hit in any case, as far as chance_weigh can tell. */
bool chance_is_certain(size_t size, size_t mean);

/* What a sample of size bytes stands for: 1 / (1 - exp(-size / mean)) objects. size is not 0. */
struct chance_weight {
	uint64_t objects; /* in units of 2^-OBJECTS_SHIFT */
	uint64_t bytes; /* that many times size, in units of 2^-BYTES_SHIFT */
};

#define OBJECTS_SHIFT 16
#define BYTES_SHIFT 4 /* sums of bytes are large */

struct chance_weight chance_weigh(size_t size, size_t mean);
