/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the parts of the soak share: soak.c (arguments, phases, reports), worker.c (what threads
 * do), quiet.c (what is verified when all of them stand still).
 */

#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "objects.h"

#define ALL_OBJECTS 524288 /* of all seats together */
#define BOXES 256
#define MAX_THREADS 256

/*
 * A seat is what outlives the thread that works on it: a thread ends, and the next one finds its
 * objects. Only that thread touches them, or anybody while all threads stand still. The figures are
 * written by the thread and read by all.
 */
struct seat {
	struct object *objects;
	size_t count, room;
	uint64_t random;
	size_t range[2]; /* of sizes, while all are alike */
	unsigned int mixture;
	pthread_t thread;
	atomic_bool has_ended; /* and is to be joined */
	bool is_taken;
	_Atomic(long) live[FAMILIES]; /* bytes got less bytes given back: less than 0 if others' */
	_Atomic(unsigned long) calls, light_calls, forks, threads;
} __attribute__((aligned(128)));

/* One object waits here to change hands. */
struct box {
	pthread_mutex_t lock;
	struct object object;
	bool is_full;
};

enum phase {
	PHASE_GROW,
	PHASE_STEADY,
	PHASE_SHRINK,
	PHASE_IDLE,
	PHASES,
};

struct soak {
	struct seat seats[MAX_THREADS]; /* threads of them */
	struct box boxes[BOXES];
	unsigned int threads;
	uint64_t seed;
	size_t max_live; /* bytes */
	bool is_hardened;
	_Atomic(size_t) target; /* live bytes, of all together */
	_Atomic(enum phase) phase;
	atomic_bool is_over; /* threads are to end */
	atomic_bool is_late; /* mmap thresholds may be set: they never adapt again */

	pthread_mutex_t lock; /* guards the next three; changed is signalled with each */
	pthread_cond_t changed;
	unsigned int working, parked;
	atomic_bool is_quiet; /* all are to stand still */
};

extern struct soak soak;

/* Live bytes of all objects, or of one family's. */
size_t live_bytes(void);
size_t live_bytes_of(enum family family);

uint64_t now_ms(void);

/* A thread's life on a seat, its argument. */
void *work(void *seat);

/*
 * With all threads standing still: verify the library's checkers and the number of objects it has;
 * unless they have been busy until now also the contents of all objects, and the memory the process
 * has against what they need: after a time of light activity, and after malloc_trim.
 */
enum quiet {
	QUIET_BUSY,
	QUIET_IDLE, /* after light activity */
	QUIET_END, /* nothing is live */
};

void quiet_check(enum quiet quiet);

/* The library's checkers; nobody else may be at it. A finding begins with where. */
void check_invariants(const char *where);

/* Memory before there were any objects. */
void quiet_begin(void);

struct quiet_figures {
	unsigned long checks;
	size_t peak_resident;
	size_t worst_kept,
		worst_trimmed; /* bytes above what live objects need: idle, and trimmed */
};

extern struct quiet_figures quiet_figures;
