/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The inside of mapping.c, mapping_kept.c (what was freed) and mapping_guard.c (hardened objects);
 * mapping.h is for others.
 */

#pragma once

#include "fork.h"
#include "helpers.h"
#include "lock.h"
#include "mapping.h"
#include "mapping_table.h"

#define KEPT_COUNT 64
#define PURGED_MIN (8 * MIB) /* hardened, such a one has no memory while it is kept */

/* A freed one. */
struct kept {
	char *_Atomic start; /* NULL: none; written last */
	size_t bytes;
	uintptr_t payload; /* what it was, for the report of a double free */
	size_t size;
	bool is_span;
	bool is_refused; /* the kernel would not take it: not bounded by L3 */
	_Atomic(uint64_t) freed_ms;
	uint64_t turn; /* the order of their freeing */
};

/* All that mappings have. */
struct mappings {
	struct lock lock; /* guards everything here */
	bool is_hardened;
	struct mapping_table table;
	struct mapping_stats stats;
	size_t guarded;
	uint64_t turn;
	unsigned int kept_count;
	struct kept kept[KEPT_COUNT];
};

extern struct mappings mapping_all __attribute__((visibility("hidden")));

static inline void mapping_lock(void)
{
	fork_check();
	lock_acquire(&mapping_all.lock);
}

static inline void mapping_unlock(void)
{
	lock_release(&mapping_all.lock);
}

static inline size_t mapping_round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

static inline char *mapping_payload(const struct mapping *m)
{
	return (char *)m->payload;
}

/* mapping_kept.c. */

/* What goes when the lock is free again. Large: only count is set at first. */
struct doomed {
	struct mapping all[KEPT_COUNT];
	unsigned int count;
};

/* Whether a mapping of has bytes may be used for bytes as it is. */
bool kept_is_fit(size_t has, size_t bytes);

/* A kept one, of about m->bytes, for what grows perhaps more. False: none is near that. */
bool kept_take(struct mapping *m, bool grows);

/* m, for which an entry is reserved, is live. The lock is held. */
void kept_put_in(const struct mapping *m, struct doomed *doomed);

/* Keep m, perhaps at the cost of older ones; whether it is kept. The lock is held. */
bool kept_put(const struct mapping *m, struct doomed *doomed);

/* The kernel has no room to change what it notes of m: so m waits for the next sweep. */
void kept_refused(const struct mapping *m);

/* The pages of m, or of all that are doomed, go back to where they came from. No lock is held. */
void kept_release(const struct mapping *m);
void kept_release_doomed(const struct doomed *doomed);

/* In a fork's child: count what is kept anew. */
void kept_repair(void);

/* L3 of mapping_check. The lock is held. */
const char *kept_check(void);

/* mapping_guard.c. */

/* Bytes of the guards of m. */
size_t guard_bytes(const struct mapping *m);

/* The start and the end of what is accessible of m. */
char *guard_start(const struct mapping *m);
char *guard_end(const struct mapping *m);

/* Hardened, m has size bytes: what is behind them is not the user's. */
void guard_set_size(struct mapping *m, size_t size);

/* m is for size bytes, of room: put these at its end, and guards around. */
void guard_place(struct mapping *m, size_t size, size_t room, size_t align);

/* Report what was written around m's payload. */
void guard_require_intact(const char *call, const struct mapping *m);

/*
 * Hardened, what is freed is zero and inaccessible before anybody sees it again. False: the kernel
 * has no room to note it.
 */
bool guard_seal_off(const struct mapping *m);
