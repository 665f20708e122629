/* SPDX-License-Identifier: BSD-3-Clause */

/* What the ways of program.c and threads.c share. */

#pragma once

#include <stddef.h>

#define KEPT 496 /* sizes of cells: reports have them */
#define LOST 480
#define STATUS 7
#define THREADS 1000

#define NOINLINE __attribute__((noinline))

/* Volatile: nothing reads them. */
extern void *volatile kept;
extern _Thread_local void *volatile kept_by_thread;
extern int pipe_ends[2];

/* What compilers do not leave out. */
NOINLINE void *get(size_t size);

/* Overwrite what calls have left below the stack pointer. */
NOINLINE void wipe(void);

NOINLINE void leaked(void);
NOINLINE void plugin_variable(void);

/* Start a thread, and wait until it is ready. */
void start(void *(*function)(void *arg), void *arg);

/* A thread with a block on its stack. Does not return. */
void *hold_on_stack(void *arg);

/* Ways of threads.c. */
void on_stack(void);
void on_blocked_stack(void);
void in_register(void);
void in_variable(void);
void in_plugin(void);
void ended(void);
void exit_in_thread(void);
void exit_while_main_pauses(void);
void exit_in_last_thread(void);
void crowd(void);
void busy(void);
void coroutines(void);
void exit_in_handler(void);
void on_deaf_stack(void);
void refused_signal(void);
void in_vfork(void);
