// SPDX-License-Identifier: BSD-3-Clause

#include "quarantine.h"

#include <errno.h>
#include <string.h>

#include "canary.h"
#include "hash.h"
#include "large/large.h"
#include "tunables.h"
#include "words.h"
#include "zero.h"
#include "zero_size.h"

uint8_t quarantine_sizes[CLASS_COUNT];

/* Empty quarantines for reuse, and their number. Guarded by the lock of the list of caches. */
static struct quarantine *spares;
static unsigned int spare_count;

static uint64_t scramble(uint64_t x)
{
	x = (x ^ x >> 32) * HASH_FACTOR2;
	x = (x ^ x >> 32) * HASH_FACTOR2;
	return x ^ x >> 32;
}

static uint8_t quarantine_size(size_t cell)
{
	size_t n = QUARANTINE_BYTES / cell;

	return (uint8_t)(n < QUARANTINE_MIN   ? QUARANTINE_MIN
			 : n > QUARANTINE_MAX ? QUARANTINE_MAX
					      : n);
}

__attribute__((cold)) bool hardened_start(void)
{
	if (!words_have(sys_options(), "hardened"))
		return false;
	canary_key.secret = sys_secret() * HASH_FACTOR2;
	canary_key.factor = scramble(canary_key.secret) | 1;
	memset(canary_key.pattern, (int)(scramble(canary_key.factor) | 0x80), PATTERN_MAX);
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		quarantine_sizes[class] = quarantine_size(slab_classes[class].size);
	slab_harden();
	large_harden();
	zero_size_start();
	return true;
}

void quarantine_shuffle(struct tcache *tc, void **cells, unsigned int n)
{
	for (unsigned int i = n; tc->quarantine && i > 1; i--) {
		size_t other = quarantine_random(tc->quarantine, i);
		void *swap = cells[i - 1];

		cells[i - 1] = cells[other];
		cells[other] = swap;
	}
}

struct quarantine *quarantine_new(void)
{
	int saved_errno = errno;
	struct quarantine *q = spares;

	if (q) {
		spares = q->next;
		spare_count--;
		return q;
	}
	q = sys_map(sizeof(*q));
	errno = saved_errno;
	if (q)
		q->random = scramble(canary_key.secret ^ (uintptr_t)q) | 1;
	return q;
}

void quarantine_drop(struct quarantine *q)
{
	if (spare_count == QUARANTINE_SPARES) {
		sys_release(q, sizeof(*q));
		return;
	}
	q->next = spares;
	spares = q;
	spare_count++;
}

void quarantine_flush(struct tcache *tc, unsigned int class)
{
	struct quarantine *q = tc->quarantine;

	if (!quarantine_count(tc, class))
		return;
	slab_enter(class);
	for (unsigned int i = 0; i < QUARANTINE_MAX; i++) {
		void *cell = q->cells[class][i];

		if (!cell)
			continue;
		q->cells[class][i] = NULL;
		slab_give_locked(class, &cell, 1);
	}
	quarantine_set_count(q, class, 0);
	slab_leave(class);
}

size_t quarantine_count(const struct tcache *tc, unsigned int class)
{
	return tc->quarantine ? tc->quarantine->count[class] : 0;
}

bool quarantine_has(const struct tcache *tc, unsigned int class, const void *cell)
{
	for (unsigned int i = 0; quarantine_count(tc, class) && i < QUARANTINE_MAX; i++)
		if (tc->quarantine->cells[class][i] == cell)
			return true;
	return false;
}

static const char *check_quarantine(const struct quarantine *q, unsigned int class)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < QUARANTINE_MAX; i++) {
		char *cell = q->cells[class][i];
		struct cell_ref ref = slab_find(cell);

		if (!cell)
			continue;
		count++;
		if (ref.state != CELL_LIVE || ref.class != class ||
		    !is_zero(cell, slab_classes[class].size))
			return "Q1: a cell in quarantine is none, or not zero";
	}
	return count == q->count[class] ? NULL : "Q2: a quarantine's count is wrong";
}

const char *quarantine_check(const struct tcache *tc)
{
	const char *fault = NULL;

	for (unsigned int class = 1; tc->quarantine && class < CLASS_COUNT && !fault; class += 1)
		fault = check_quarantine(tc->quarantine, class);
	return fault;
}
