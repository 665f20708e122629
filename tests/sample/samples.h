/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Shared by tests of sampling: the truth about a program, and how far an estimate may be off.
 *
 * An object of size bytes is a sample with probability p and then counts 1/p times. So the estimate
 * of a sum over objects, of x each, has the variance sum(x^2 * (1 - p) / p).
 */

#pragma once

#include <stdint.h>
#include <stdlib.h>

#include "common.h"
#include "harness.h"
#include "sample/chance.h"
#include "sample/sample.h"

/* A sum over objects, what was estimated of it, and the variance of the estimate. */
struct sum {
	double truth, estimate, variance;
};

struct truth {
	struct sum live_bytes, live_objects, total_bytes, total_objects;
};

/* 1 / p - 1 */
static inline double variance_of(size_t size, size_t interval)
{
	return (double)chance_weigh(size, interval).objects / (1 << OBJECTS_SHIFT) - 1;
}

/* sign objects of size bytes come into being. */
static inline void add_object(struct sum *bytes, struct sum *objects, size_t size, size_t interval,
			      double sign)
{
	double variance = sign * variance_of(size, interval), x = (double)size;

	bytes->truth += sign * x;
	bytes->variance += variance * x * x;
	objects->truth += sign;
	objects->variance += variance;
}

static inline void add_live(struct truth *truth, size_t size, size_t interval)
{
	add_object(&truth->live_bytes, &truth->live_objects, size, interval, 1);
	add_object(&truth->total_bytes, &truth->total_objects, size, interval, 1);
}

static inline void end_live(struct truth *truth, size_t size, size_t interval)
{
	add_object(&truth->live_bytes, &truth->live_objects, size, interval, -1);
}

static inline void add_sum(struct sum *to, const struct sum *from)
{
	to->truth += from->truth;
	to->estimate += from->estimate;
	to->variance += from->variance;
}

static inline void add_truth(struct truth *to, const struct truth *from)
{
	add_sum(&to->live_bytes, &from->live_bytes);
	add_sum(&to->live_objects, &from->live_objects);
	add_sum(&to->total_bytes, &from->total_bytes);
	add_sum(&to->total_objects, &from->total_objects);
}

static inline void add_entry(const struct sample_entry *entry, void *arg)
{
	struct truth *truth = arg;

	CHECK(entry->thread ? !entry->total_bytes : !entry->live_bytes);
	truth->live_bytes.estimate += (double)entry->live_bytes;
	truth->live_objects.estimate += (double)entry->live_objects;
	truth->total_bytes.estimate += (double)entry->total_bytes;
	truth->total_objects.estimate += (double)entry->total_objects;
}

/* All estimates, as they are now. */
static inline struct truth estimates(void)
{
	struct truth truth = {0};

	CHECK(sample_each_stack(add_entry, &truth));
	return truth;
}

/*
 * The estimate is within six standard deviations: chance exceeds these in one of 500 million runs.
 * They are less than a fortieth of the truth, so a bias of a twentieth is seen.
 */
static inline void check_sum(const char *what, const struct sum *sum)
{
	double off = sum->estimate - sum->truth;

	CHECK_MSG(36 * sum->variance < sum->truth * sum->truth / 1600,
		  "%s: too few samples to see a bias: variance %g of %g", what, sum->variance,
		  sum->truth);
	CHECK_MSG(off * off <= 36 * sum->variance, "%s: estimate %.0f, truth %.0f, deviation %g",
		  what, sum->estimate, sum->truth, off * off / sum->variance);
}

static inline void check_truth(const struct truth *truth)
{
	check_sum("live bytes", &truth->live_bytes);
	check_sum("live objects", &truth->live_objects);
	check_sum("total bytes", &truth->total_bytes);
	check_sum("total objects", &truth->total_objects);
}

/* Nothing that was sampled lives. Frees leave no rest of an estimate. */
static inline void check_no_sample_lives(void)
{
	struct truth now = estimates();
	struct sample_stats stats;

	CHECK(now.live_bytes.estimate == 0 && now.live_objects.estimate == 0);
	sample_get_stats(&stats);
	CHECK(stats.live == 0 && stats.live_bytes == 0 && stats.dropped == 0);
}
