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
#include "tunables.h"

/* A freed one. */
struct kept {
	struct mapping m; /* as it was, for the report of a double free; hardened, its body */
	bool is_refused; /* by the kernel, and nobody can use it: not bounded by L3 */
	_Atomic(uint64_t) freed_ms;
	uint64_t turn; /* the order of their freeing */
};

/* All that mappings have. */
struct mappings {
	struct lock lock; /* guards everything here */
	struct mapping_table table;
	struct mapping_stats stats;
	size_t guarded;
	uint64_t turn;
	unsigned int kept_count;
	struct kept kept[KEPT_COUNT];
	struct mapping graves[GRAVES]; /* hardened: places of what was freed last, by number */
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

static inline bool mapping_is_guarded(const struct mapping *m)
{
	return m->behind;
}

/* The place of m: its body, and what is inaccessible around it. */
static inline char *mapping_place(const struct mapping *m)
{
	return m->place ? m->place : m->start;
}

static inline size_t mapping_place_bytes(const struct mapping *m)
{
	return (size_t)(m->start + m->bytes - mapping_place(m)) + m->behind * sys_page_size();
}

static inline char *mapping_payload(const struct mapping *m)
{
	return (char *)m->payload;
}

/* mapping.c. */

/* Pages that begin where align says; NULL with errno ENOMEM. */
char *mapping_map(size_t bytes, size_t align);

/* mapping_kept.c. */

/* Whether a mapping of has bytes may be used for bytes as it is. */
bool kept_is_fit(size_t has, size_t bytes);

/* A kept one of about that many bytes, for what grows perhaps more. False: none is near that. */
bool kept_take(struct mapping *m, size_t bytes, bool grows);

/* Whether one has that many bytes. */
bool kept_has(size_t bytes);

/* m, for which an entry is reserved, is live; kept ones may go for it. No lock is held. */
void kept_put_in(const struct mapping *m);

/* Keep m, perhaps at the cost of older ones, or give it back. No lock is held. */
void kept_keep(const struct mapping *m);

/* The pages of m go back to where they came from. No lock is held. */
void kept_release(const struct mapping *m);

/* In a fork's child: count what is kept anew. */
void kept_repair(void);

/* L3 of mapping_check. The lock is held. */
const char *kept_check(void);

/* mapping_guard.c. */

/*
 * Hardened, m for size bytes of room, which read as zero; false with errno ENOMEM. *is_mapped: the
 * kernel has given it now.
 */
bool guard_make(struct mapping *m, size_t size, size_t room, size_t align, bool *is_mapped);

/* m, which is out of the table, is freed. Both report what was written around its payload. */
void guard_free(const char *call, const struct mapping *m);

/* m, which is out of the table, has size bytes, and may be elsewhere; false: it is as it was. */
bool guard_resize(const char *call, struct mapping *m, size_t size);

/* What was freed goes back to the kernel, addresses and all; whether there was anything. */
bool guard_trim(void);
