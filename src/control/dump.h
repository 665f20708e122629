/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * dump_on: a signal makes the service thread write everything that is on, while the program runs.
 *
 * 1. The handler is installed at the start, unless the signal is ignored then.
 *    A program that installs its own handler later has taken the signal: nothing is written.
 * 2. SIGUSR1, SIGUSR2, real-time signals and those that do nothing by default: the program
 *    continues. Its interrupted system calls are restarted where SA_RESTART does that.
 * 3. All others: after the dump the process ends as the signal would have ended it. The handler
 *    waits for the dump, so that the program does not see an interrupted system call. If the dump
 *    takes longer than DUMP_WAITS, because it waits for the interrupted thread, the program
 *    continues until it is written.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "words.h"

/* The names that dump_read accepts. */
#define DUMP_SIGNALS                                                                               \
	"USR1, USR2, HUP, INT, QUIT, TERM, ALRM, VTALRM, PROF, XCPU, PWR, IO, CHLD, URG, WINCH, "  \
	"or a number of these or of a real-time signal"

/* Read the name of a signal, with or without SIG, or its number. False if it is invalid. */
bool dump_read(struct word word, size_t *signal);

/* Install the handler. The service has started. */
void dump_begin(int signal);
