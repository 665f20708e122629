/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Signals at a high rate: a thread of its own sends SIGUSR1 to the process over and over, which
 * interrupts any thread that does not block it, wherever it is.
 */

#pragma once

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

static pthread_t signal_sender;
static atomic_bool signals_are_over;
static atomic_size_t signal_count; /* that were handled */

static void count_signal(int signal)
{
	(void)signal;
	signal_count++;
}

static void *send_signals(void *pause)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	while (!signals_are_over) {
		kill(getpid(), SIGUSR1);
		if (pause)
			nanosleep(pause, NULL);
		else
			sched_yield();
	}
	return NULL;
}

/* One signal after each pause, which must stay, or, with NULL, as often as can be. */
static inline void signals_begin(struct timespec *pause)
{
	struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};

	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	CHECK(pthread_create(&signal_sender, NULL, send_signals, pause) == 0);
}

/* No more of them; how many were handled. */
static inline size_t signals_end(void)
{
	signals_are_over = true;
	CHECK(pthread_join(signal_sender, NULL) == 0);
	return signal_count;
}
