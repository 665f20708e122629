// SPDX-License-Identifier: BSD-3-Clause

#include "kept.h"

#include <errno.h>
#include <string.h>

#include "heap_core.h"
#include "zero.h"

#define KEPT_BYTES (64 * MIB) /* all together: for more, others go */
#define WAITING 4 /* at most; as many as WAITING_BYTES have room for */
#define WAITING_BYTES (1 * MIB)
#define READY 4
#define SHELVES 48
#define LOOK_PAGES 512 /* at a time */

/*
 * A place is the number of the first page and, in its low bits, of how many there are: those that
 * can be touched, which are the last ones of what kept_room says.
 */
#define LENGTH_BITS 22
#define COLD ((uint64_t)1 << LENGTH_BITS) /* a sweep has seen it */
#define WHOLE ((uint64_t)2 << LENGTH_BITS) /* all its pages had memory when it came */
#define START_SHIFT (LENGTH_BITS + 2)

#define PLACES (WAITING + READY)

struct shelf {
	_Atomic(uint64_t) places[PLACES]; /* those that are ready behind those that wait */
};

_Atomic(size_t) kept_total;

static struct shelf shelves[SHELVES];
static _Atomic(uint64_t) turns;
static _Atomic(uint64_t) last_sweep_ms;
static _Atomic(size_t) hand; /* the place that has to go next, if it is cold */

/* Size classes. */

static unsigned int class_shift(size_t pages)
{
	unsigned int log = 63 - (unsigned int)__builtin_clzll(pages);

	return log > KEPT_CLASS_BITS ? log - KEPT_CLASS_BITS : 0;
}

size_t kept_room(size_t pages)
{
	return pages * heap_guard > KEPT_MAX ? pages
					     : round_up(pages, (size_t)1 << class_shift(pages));
}

static struct shelf *shelf_of(size_t pages)
{
	unsigned int shift = class_shift(pages);

	return &shelves[(shift << KEPT_CLASS_BITS) + (kept_room(pages) >> shift)];
}

/* Places. */

static uint64_t place_of(const char *start, size_t pages)
{
	return (uintptr_t)start / heap_guard << START_SHIFT | pages;
}

static char *place_start(uint64_t place)
{
	return (char *)((uintptr_t)(place >> START_SHIFT) * heap_guard);
}

static size_t place_pages(uint64_t place)
{
	return place & (COLD - 1);
}

/* Contents. */

typedef const void *visitor(char *start, size_t size);

/*
 * Call visit for those pages from start to end that are in memory, until it returns something. What
 * is not there is zero afterwards, and need not be brought there for it; *whole: there was none
 * such.
 */
static const void *visit_resident(char *start, char *end, visitor *visit, bool *whole)
{
	unsigned char resident[LOOK_PAGES];
	const void *found = NULL;
	size_t page = heap_guard, run;

	*whole = true;

	for (size_t n; start < end && !found; start += n * page) {
		n = (size_t)(end - start) / page;
		n = n < LOOK_PAGES ? n : LOOK_PAGES;
		if (sys_resident(start, n * page, resident) < 0)
			memset(resident, 1, n);
		for (size_t i = 0; i < n && !found; i += run) {
			for (run = 1; i + run < n && resident[i + run] == resident[i];)
				run++;
			*whole &= resident[i];
			if (resident[i] || sys_purge(start + i * page, run * page) < 0)
				found = visit(start + i * page, run * page);
		}
	}
	return found;
}

static const void *clear(char *start, size_t size)
{
	memset(start, 0, size);
	return NULL;
}

static const void *find_written(char *start, size_t size)
{
	if (is_zero(start, size))
		return NULL;
	while (!*start)
		start++;
	return start;
}

/* What was written to at place, or NULL. It takes half the time without asking the kernel. */
static const void *written_at(uint64_t place)
{
	char *start = place_start(place);
	size_t size = place_pages(place) * heap_guard;
	bool whole;

	return place & WHOLE ? find_written(start, size)
			     : visit_resident(start, start + size, find_written, &whole);
}

static void require_zero(const char *call, uint64_t place)
{
	const void *written = written_at(place);

	if (written)
		sys_fatal(call, written, "memory of a free block was written to");
}

/* Coming. */

/* What has left its place becomes inaccessible. */
static void dismiss(uint64_t place)
{
	char *start = place_start(place);
	size_t pages = place_pages(place);

	require_zero("free", place);
	guard_retire(start, start + pages * heap_guard);
	atomic_fetch_sub(&kept_total, pages * heap_guard);
}

static void make_ready(struct shelf *shelf, uint64_t place)
{
	for (size_t i = WAITING; i < PLACES; i++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&shelf->places[i], &none, place))
			return;
	}
	dismiss(place);
}

/* What is at a place goes if it is cold, or is cold from now on. */
static void cool(_Atomic(uint64_t) *at)
{
	uint64_t place = *at;

	if (!place)
		return;
	if (!(place & COLD))
		atomic_compare_exchange_strong(at, &place, place | COLD);
	else if (atomic_compare_exchange_strong(at, &place, 0))
		dismiss(place);
}

/* The limit holds at once, but for what others are about to put. */
static void make_room(void)
{
	for (size_t i = 0; i < 2 * SHELVES * PLACES && kept_total > KEPT_BYTES; i++) {
		size_t next = atomic_fetch_add_explicit(&hand, 1, memory_order_relaxed);

		cool(&shelves[next / PLACES % SHELVES].places[next % PLACES]);
	}
}

static size_t random_place(size_t size)
{
	uint64_t turn = atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
	size_t random = (size_t)(((turn ^ heap_secret) * 0x9e3779b97f4a7c15u) >> 32);

	return size < WAITING_BYTES ? random % (WAITING_BYTES / size) % WAITING : 0;
}

bool kept_put(char *start, char *end)
{
	size_t size = (size_t)(end - start), pages = size / heap_guard;
	int saved_errno = errno;
	struct shelf *shelf;
	uint64_t place, leaves;
	bool whole;

	if (size > KEPT_MAX)
		return false;
	atomic_fetch_add(&kept_total, size);
	make_room();
	visit_resident(start, end, clear, &whole);
	place = place_of(start, pages) | (whole ? WHOLE : 0);
	shelf = shelf_of(pages);
	leaves = atomic_exchange(&shelf->places[random_place(size)], place);
	if (leaves)
		make_ready(shelf, leaves & ~COLD);
	errno = saved_errno;
	return true;
}

/* Going. */

/* Best of as many pages: then there is nothing to protect. */
static uint64_t take_ready(struct shelf *shelf, size_t pages)
{
	for (int is_exact = 1; is_exact >= 0; is_exact--) {
		for (size_t i = WAITING; i < PLACES; i++) {
			uint64_t place = shelf->places[i];

			if (place && (!is_exact || place_pages(place) == pages) &&
			    atomic_compare_exchange_strong(&shelf->places[i], &place, 0))
				return place;
		}
	}
	return 0;
}

/* Of the pages before end there are as many to touch from now on; -1: there are less. */
static int fit(char *end, size_t have, size_t pages)
{
	size_t page = heap_guard;

	if (have < pages)
		return sys_unprotect(end - pages * page, (pages - have) * page);
	if (have > pages)
		sys_protect(end - have * page, (have - pages) * page);
	return 0;
}

char *kept_take(size_t pages)
{
	int saved_errno = errno;
	uint64_t place;
	size_t have;
	char *end;

	place = pages * heap_guard > KEPT_MAX ? 0 : take_ready(shelf_of(pages), pages);
	if (!place)
		return NULL;
	have = place_pages(place);
	end = place_start(place) + have * heap_guard;
	require_zero("malloc", place);
	if (fit(end, have, pages) < 0) {
		guard_retire(place_start(place), end);
		end = NULL;
	}
	atomic_fetch_sub(&kept_total, have * heap_guard);
	errno = saved_errno;
	return end;
}

/* Giving back. */

static void for_all(void (*change)(_Atomic(uint64_t) *at))
{
	int saved_errno = errno;

	for (size_t i = 0; i < SHELVES * PLACES; i++)
		change(&shelves[i / PLACES].places[i % PLACES]);
	errno = saved_errno;
}

static void empty(_Atomic(uint64_t) *at)
{
	uint64_t place = atomic_exchange(at, 0);

	if (place)
		dismiss(place);
}

void kept_sweep(uint64_t period_ms)
{
	uint64_t now = sys_now_ms(), last = last_sweep_ms;

	if (now - last >= period_ms && atomic_compare_exchange_strong(&last_sweep_ms, &last, now))
		for_all(cool);
}

void kept_trim(void)
{
	for_all(empty);
}

void kept_fork_child(void)
{
	size_t pages = 0;

	for (size_t i = 0; i < SHELVES * PLACES; i++)
		pages += place_pages(shelves[i / PLACES].places[i % PLACES]);
	kept_total = pages * heap_guard;
}

/* Checking. */

const char *kept_check(void)
{
	size_t total = 0;

	for (size_t i = 0; i < SHELVES * PLACES; i++) {
		uint64_t place = shelves[i / PLACES].places[i % PLACES];

		if (!place)
			continue;
		if (shelf_of(place_pages(place)) != &shelves[i / PLACES] || written_at(place))
			return "K1: kept pages are of another class, or not zero";
		total += place_pages(place) * heap_guard;
	}
	return total == kept_total ? NULL : "K2: the sum of what is kept is wrong";
}
