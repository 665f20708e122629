// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* The distances between samples, and their weights, against floating point. */

#include <stdint.h>

#include "harness.h"
#include "sample/chance.h"

/* 1 - exp(-x), by its series; x is halved until that is quick. 1 - e^2 = (1 - e)(2 - (1 - e)). */
static double one_minus_exp(double x)
{
	double sum = 0, term = -1;

	if (x > 0.1) {
		sum = one_minus_exp(x / 2);
		return sum * (2 - sum);
	}
	for (int n = 1; n < 12; n++) {
		term *= -x / n;
		sum += term;
	}
	return sum;
}

static bool is_near(double a, double b, double relative)
{
	double off = a > b ? a - b : b - a;

	return off <= relative * b;
}

TEST(weights)
{
	for (size_t mean = 1; mean <= (size_t)1 << 40; mean *= 3)
		for (size_t size = 1; size <= (size_t)1 << 46; size += size / 5 + 1) {
			double p = one_minus_exp((double)size / (double)mean);
			struct chance_weight w = chance_weigh(size, mean);
			double objects = (double)w.objects / (1 << OBJECTS_SHIFT);
			double bytes = (double)w.bytes / (1 << BYTES_SHIFT);

			CHECK_MSG(is_near(objects, 1 / p, 1e-5),
				  "%zu of %zu: %.9f objects, not %.9f", size, mean, objects, 1 / p);
			CHECK_MSG(is_near(bytes, (double)size / p, 1e-5 + 0.04 * p / (double)size),
				  "%zu of %zu: %.3f bytes, not %.3f", size, mean, bytes,
				  (double)size / p);
		}
}

/* Of n distances, those below size are a share of 1 - exp(-size / mean), within six deviations. */
static void check_distances(size_t mean)
{
	enum {
		DRAWS = 1000000,
		BINS = 9
	};
	static const double xs[BINS] = {0.001, 0.01, 0.1, 0.5, 1, 2, 4, 8, 12};
	size_t below[BINS] = {0};
	double sum = 0;

	for (size_t i = 0; i < DRAWS; i++) {
		int64_t distance = chance_distance(mean);

		CHECK(distance >= 0);
		sum += (double)distance;
		for (size_t bin = 0; bin < BINS; bin++)
			below[bin] += distance < (int64_t)(xs[bin] * (double)mean);
	}
	for (size_t bin = 0; bin < BINS; bin++) {
		double size = (double)(int64_t)(xs[bin] * (double)mean);
		double p = one_minus_exp(size / (double)mean);
		double off = (double)below[bin] - p * DRAWS;

		CHECK_MSG(off * off <= 36 * (DRAWS * p * (1 - p) + 1), "%g of %zu: %zu, not %g",
			  xs[bin], mean, below[bin], p * DRAWS);
	}
	/* Rounded down, by half a byte on average if the mean is large. */
	CHECK(is_near(sum / DRAWS + (mean > 100 ? 0.5 : 0), mean > 100 ? (double)mean : sum / DRAWS,
		      6e-3));
}

TEST(distances)
{
	chance_seed();
	check_distances(1);
	check_distances(7);
	check_distances(1000);
	check_distances(512 * KIB);
	check_distances((size_t)1 << 40);
}

/* Each bit is set half of the time, and independent of the same bit of the draw before. */
TEST(random_bits)
{
	enum {
		DRAWS = 100000
	};
	uint64_t before = chance_random();

	for (unsigned int bit = 0; bit < 64; bit++) {
		long set = 0, equal = 0;

		for (size_t i = 0; i < DRAWS; i++) {
			uint64_t r = chance_random();

			set += (long)(r >> bit & 1);
			equal += !((r ^ before) >> bit & 1);
			before = r;
		}
		CHECK(labs(2 * set - DRAWS) < 6 * 317 && labs(2 * equal - DRAWS) < 6 * 317);
	}
}
