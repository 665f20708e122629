// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* The figures and snapshots of a trace, meanwhile and at its ends. */

#include "tracefile.h"

#include <stdio.h>
#include <stdlib.h>

#include "cache/tcache.h"
#include "helpers.h"
#include "inspect/inspect.h"
#include "osmem.h"
#include "trace/calls.h"
#include "trace/trace.h"

static char path[64];

static void begin(void)
{
	snprintf(path, sizeof(path), "/tmp/osmem-figures-%d", (int)getpid());
	CHECK(trace_start(path, (uint64_t)64 << 20, 0));
	calls_set_mode(CALLS_TRACED, true);
	tcache_set_mode(TCACHE_TRACES, true);
}

/* The file, which is gone when the test is over. */
static struct tracefile end(void)
{
	struct tracefile t;

	tcache_set_mode(TCACHE_TRACES, false);
	calls_set_mode(CALLS_TRACED, false);
	trace_stop();
	t = tracefile_open(path);
	unlink(path);
	return t;
}

/* Memory grows, with figures on the way, then shrinks. */
static void grow_and_shrink(void)
{
	static void *p[1 << 15];

	for (size_t i = 0; i < 1 << 15; i++) {
		p[i] = malloc(200);
		if (i % 512 == 0)
			inspect_trace_figures();
	}
	for (size_t i = 0; i < 1 << 15; i++)
		free(p[i]);
	inspect_trace_figures();
}

/* The most live bytes that figures show right before a snapshot, and of all figures. */
static void find_peaks(const struct tracefile *t, uint64_t *shown, uint64_t *peak)
{
	uint64_t live = 0;

	*shown = *peak = 0;
	for (size_t i = 0; i < t->count; i++) {
		const struct trace_record *r = &t->records[i];

		if (r->kind == TRACE_FIGURES && r->what == 0)
			live = r->a;
		*peak = live > *peak ? live : *peak;
		if (r->kind == TRACE_SNAP_BEGIN && live > *shown)
			*shown = live;
	}
}

TEST(snapshots_show_the_peak_and_are_a_small_part)
{
	uint64_t shown, peak;
	struct tracefile t;
	size_t in_snapshots = 0;

	begin();
	inspect_trace_snapshot(TRACE_AT_START);
	grow_and_shrink();
	t = end();
	find_peaks(&t, &shown, &peak);
	for (size_t i = 0; i < t.count; i++)
		in_snapshots += t.records[i].kind >= TRACE_SNAP_BEGIN;
	CHECK(peak > 1 << 22 && shown > peak - peak / 4);
	CHECK_MSG(in_snapshots < t.count / 4, "%zu of %zu", in_snapshots, t.count);
	CHECK(tracefile_count(&t, TRACE_SNAP_BEGIN, TRACE_MEANWHILE) > 5);
}

TEST(the_shares_of_figures_add_up)
{
	struct trace_record total = {0}, shares = {0};
	struct tracefile t;

	begin();
	for (size_t i = 0; i < 1000; i++)
		free(malloc(40 * i));
	os_free(os_malloc(100));
	inspect_trace_figures();
	t = end();
	CHECK(tracefile_count(&t, TRACE_FIGURES, 0) == 1);
	for (size_t i = 0; i < t.count; i++) {
		const struct trace_record *r = &t.records[i];

		if (r->kind == TRACE_FIGURES && r->what == 0)
			total = *r;
		if (r->kind == TRACE_FIGURES && r->what == 2)
			shares = *r;
	}
	CHECK(total.b == total.a + shares.a + shares.b + shares.c);
	CHECK(shares.a > 0 && shares.b > 0 && shares.c > 0);
}

/* However busy the machine is, there are some after 50 ms. */
TEST(calls_take_figures_on_time)
{
	uint64_t start = sys_now_ns();
	struct tracefile t;

	begin();
	trace_on_time = inspect_trace_figures;
	while (sys_now_ns() - start < 50000000)
		free(malloc(100));
	free(malloc(100));
	trace_on_time = NULL;
	t = end();
	CHECK(tracefile_count(&t, TRACE_FIGURES, 0) >= 2);
	CHECK(tracefile_count(&t, TRACE_FIGURES, 0) == tracefile_count(&t, TRACE_FIGURES, 2));
}
