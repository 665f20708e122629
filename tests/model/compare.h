/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Random calls of the four functions, side by side with the naive model: after each the address,
 * the header, the contents and the break are compared, and at intervals the list from end to end.
 *
 * A run is a profile (which sizes, which calls), a seed and a number of calls, and happens in a
 * child with an untouched heap. compare.c makes the calls, profiles.c chooses them.
 */

#pragma once

#include "naive.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_SLOTS 8192
#define LOG_SIZE 65536

enum call_kind {
	CALL_MALLOC,
	CALL_CALLOC,
	CALL_REALLOC,
	CALL_FREE,
	CALL_REALLOC_FREED, /* os_realloc of a free block, rule 16 */
	CALL_SBRK, /* the program raises the break */
	CALL_KINDS,
};

/* One call and what the model makes of it. */
struct call {
	enum call_kind kind;
	int slot;
	size_t nmemb; /* of os_calloc */
	size_t size;
	struct naive_block want; /* as it is after the call; status -1 for NULL */
	size_t freed_offset; /* of CALL_REALLOC_FREED */
};

struct run;

/* A kind of program. */
struct profile {
	const char *name;
	int slots;
	size_t calls_divisor; /* where the walks of the model would take too long */
	int realloc_percent; /* of what happens to an occupied slot */
	int calloc_percent; /* of what fills an empty slot */
	size_t (*size)(struct run *run);
	void (*next)(struct run *run, struct call *call);
};

struct plan {
	const struct profile *profile;
	uint64_t seed;
	enum naive_bug bug; /* of the model */
	size_t calls;
	size_t check_interval; /* compare the whole list every so many calls */
};

/* What a run tells its parent, in memory they share. */
struct outcome {
	size_t calls; /* begun */
	char why[256]; /* empty if all was well */
	struct call log[LOG_SIZE]; /* a ring */
};

struct slot {
	char *p; /* NULL: empty */
	struct naive_block *b;
	uint64_t cookie;
};

struct run {
	const struct plan *plan;
	struct naive_heap model;
	char *base; /* where the heap begins */
	uint64_t random;
	size_t step; /* of the sweeping profile */
	struct slot slots[MAX_SLOTS];
};

/* What the last run has told. */
extern struct outcome *outcome;

/* Run the plan in a child: 0, or the number of the call at which it failed; see outcome. */
size_t compare_run(const struct plan *plan);

/* Run the plan here, where the course heap is untouched; a difference is printed, then abort(). */
void compare_here(const struct plan *plan);

/* How long a run may take before it counts as hanging, in seconds. */
unsigned int compare_seconds(size_t calls);

bool is_occupied(const struct run *run, int slot);

/* The random numbers of a run: any, one below limit, and true in so many percent. */
uint64_t random64(struct run *run);
size_t below(struct run *run, size_t limit);
bool is_chance(struct run *run, int percent);

/* All profiles, ended by one without a name; and the one of this name. */
extern const struct profile profiles[];
const struct profile *profile_named(const char *name);
