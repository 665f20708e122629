// SPDX-License-Identifier: BSD-3-Clause

/* Fixed point: numbers with 32 binary places, products in 128 bits. */

#include "chance.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "hash.h"
#include "helpers.h"

typedef unsigned __int128 wide;

#define ONE (UINT64_C(1) << 32)
#define LN2 UINT64_C(0xb17217f8) /* ln 2 */
#define SQRT2 UINT64_C(0x16a09e667)
#define NEVER_MISSED (22 * ONE) /* exp(-22) is less than a unit */

static _Atomic(uint64_t) state;

void chance_seed(void)
{
	atomic_fetch_xor(&state, hash_full(sys_now_ns()) ^ sys_secret());
}

uint64_t chance_random(void)
{
	uint64_t h = atomic_fetch_add_explicit(&state, HASH_FACTOR, memory_order_relaxed);

	h = (h ^ h >> 30) * HASH_FACTOR3;
	h = (h ^ h >> 27) * HASH_FACTOR2;
	return h ^ h >> 31;
}

static uint64_t times(uint64_t a, uint64_t b)
{
	return (uint64_t)((wide)a * b >> 32);
}

/* Of odd numbers: a table, because divisions take most of the time of the series. */
static const uint64_t inverse[] = {ONE / 11, ONE / 9, ONE / 7, ONE / 5, ONE / 3, ONE};

/*
 * -ln of r / 2^64. r is a power of two times m in [1, 2). ln m = 2 artanh((m - 1) / (m + 1)), and
 * ln m = ln 2 - 2 artanh((2 - m) / (2 + m)): the series of the lesser converges quickly: six terms
 * are exact to a unit.
 */
static uint64_t minus_ln(uint64_t r)
{
	unsigned int zeros = (unsigned int)__builtin_clzll(r);
	uint64_t m = r << zeros >> 31, sum = 0, z, z2;
	bool is_upper = m > SQRT2;

	z = is_upper ? ((2 * ONE - m) << 32) / (2 * ONE + m) : ((m - ONE) << 32) / (m + ONE);
	z2 = z * z >> 32; /* below ONE / 32, and sum below 2 ONE: products have 64 bits */
	for (size_t i = 0; i < sizeof(inverse) / sizeof(inverse[0]); i++)
		sum = inverse[i] + (sum * z2 >> 32);
	sum = z * sum >> 31;
	return is_upper ? zeros * LN2 + sum : (zeros + 1) * LN2 - sum;
}

int64_t chance_distance(size_t mean)
{
	wide distance = (wide)minus_ln(chance_random() | 1) * mean >> 32;

	return distance < INT64_MAX / 2 ? (int64_t)distance : INT64_MAX / 2;
}

bool chance_is_certain(size_t size, size_t mean)
{
	return size / (NEVER_MISSED / ONE) >= mean;
}

/* x / (1 - exp(-x)) for x up to 1: a series, whose error is less than 10^-6. */
static uint64_t series(uint64_t x)
{
	uint64_t x2 = times(x, x), x4 = times(x2, x2);

	return ONE + x / 2 + x2 / 12 - x4 / 720 + times(x4, x2) / 30240;
}

/* exp(-x) for x from 1 to NEVER_MISSED: by halving x until the series holds, and squaring. */
static uint64_t exp_minus(uint64_t x)
{
	unsigned int halvings = 0;
	uint64_t result;

	while (x >> halvings > ONE)
		halvings++;
	x >>= halvings;
	result = ONE - ((x << 31) / series(x) << 1);
	for (; halvings; halvings--)
		result = times(result, result);
	return result;
}

/* x / 2^places, to the nearest. */
static uint64_t without(wide x, unsigned int places)
{
	return (uint64_t)((x + ((wide)1 << (places - 1))) >> places);
}

struct chance_weight chance_weigh(size_t size, size_t mean)
{
	/* The division of 128 bits is slow. */
	wide x = size < ONE ? (size << 32) / mean : ((wide)size << 32) / mean;
	uint64_t objects = ONE;

	if (x <= ONE) {
		wide bytes = (wide)mean * series((uint64_t)x);

		return (struct chance_weight){
			.objects = without(bytes / size, 32 - OBJECTS_SHIFT),
			.bytes = without(bytes, 32 - BYTES_SHIFT),
		};
	}
	if (x < NEVER_MISSED)
		objects = UINT64_MAX / (ONE - exp_minus((uint64_t)x));
	return (struct chance_weight){
		.objects = without(objects, 32 - OBJECTS_SHIFT),
		.bytes = without((wide)objects * size, 32 - BYTES_SHIFT),
	};
}
