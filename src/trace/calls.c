// SPDX-License-Identifier: BSD-3-Clause

#include "calls.h"

#include <stdatomic.h>

#include "trace.h"

unsigned char calls_modes;

/* Threads may hold any locks here, so these are atomic. */
static struct {
	_Atomic(size_t) calls, failed, bytes;
} counts[TRACE_NAME_END];

static _Atomic(intptr_t) live_bytes, peak_bytes;

static void add(_Atomic(size_t) *counter, size_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void calls_set_mode(enum calls_mode mode, bool is_on)
{
	if (is_on)
		calls_modes |= mode;
	else
		calls_modes &= (unsigned char)~mode;
}

static size_t bytes_asked_for(enum trace_name name, uint64_t a, uint64_t b)
{
	switch (name) {
	case TRACE_OS_CALLOC:
	case TRACE_CALLOC:
		return a * b;
	case TRACE_OS_FREE:
	case TRACE_FREE:
	case TRACE_FREE_SIZED:
	case TRACE_FREE_ALIGNED_SIZED:
	case TRACE_DELETE:
	case TRACE_MALLOC_TRIM:
		return 0;
	default:
		return b;
	}
}

void calls_enter(enum trace_name name, uint64_t a, uint64_t b)
{
	if (calls_modes & CALLS_TRACED)
		trace_put(TRACE_ENTER, name, 0, false, a, b, 0);
}

void calls_record(enum trace_name name, uint64_t a, uint64_t b, uint64_t c, bool failed)
{
	if (calls_modes & CALLS_COUNTED) {
		add(&counts[name].calls, 1);
		add(failed ? &counts[name].failed : &counts[name].bytes,
		    failed ? 1 : bytes_asked_for(name, a, b));
	}
	if (calls_modes & CALLS_TRACED)
		trace_put(TRACE_CALL, name, 0, failed, a, b, c);
}

void calls_add_live(intptr_t bytes)
{
	intptr_t live = atomic_fetch_add_explicit(&live_bytes, bytes, memory_order_relaxed) + bytes;
	intptr_t peak = atomic_load_explicit(&peak_bytes, memory_order_relaxed);

	while (live > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, live))
		;
}

void calls_get(enum trace_name name, struct call_stats *stats)
{
	*stats = (struct call_stats){0};
	for (unsigned int i = 0; i < TRACE_NAME_END; i++) {
		if (i != name && name != TRACE_NAME_END)
			continue;
		stats->calls += counts[i].calls;
		stats->failed += counts[i].failed;
		stats->bytes += counts[i].bytes;
	}
}

size_t calls_peak_bytes(void)
{
	return (size_t)peak_bytes;
}
