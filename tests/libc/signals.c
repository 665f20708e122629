// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* Signals that arrive inside malloc, and fork in their handlers. */

#include "libc_common.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "fork_common.h"

/* ---- fork from a signal handler that interrupted malloc ---- */

static volatile sig_atomic_t forks, is_child, handler_failed;

static void fork_in_handler(int signal)
{
	int saved = errno, status;
	pid_t pid;

	(void)signal;
	if (is_child)
		return;
	pid = fork();
	if (pid == 0) {
		/* Returns into the malloc that was interrupted, and goes on from there. */
		is_child = 1;
		alarm(DEADLOCK_SECONDS * test_patience());
	} else if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		handler_failed = 1;
	}
	forks++;
	errno = saved;
}

static void fire_every(int signal, void (*handler)(int), long us)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct itimerval timer = {.it_interval.tv_usec = us, .it_value.tv_usec = us};

	CHECK(sigaction(signal, &action, NULL) == 0);
	CHECK(setitimer(signal == SIGVTALRM ? ITIMER_VIRTUAL : ITIMER_PROF, &timer, NULL) == 0);
}

/* One step of work that is inside the allocator most of the time. */
static void churn(void **p, size_t count, uint64_t *state)
{
	size_t i = random_next(state) % count, size = random_next(state) % 8000;

	free(p[i]);
	p[i] = malloc(size);
	CHECK(p[i] && malloc_usable_size(p[i]) >= size);
	*(unsigned char *)p[i] = 1;
}

TEST(fork_in_a_handler_that_interrupted_malloc)
{
	static void *p[1000];
	double end = seconds() + 30;
	uint64_t state = 3;

	fire_every(SIGPROF, fork_in_handler, 500);
	while (!is_child && forks < 150 && seconds() < end) {
		for (int i = 0; i < 100 && !is_child; i++)
			churn(p, COUNT_OF(p), &state);
		CHECK(!handler_failed);
	}
	signal(SIGPROF, SIG_IGN);
	for (int i = 0; i < 2000; i++)
		churn(p, COUNT_OF(p), &state);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	CHECK(is_child || forks >= 20);
}

/* ---- Signals ---- */

static volatile sig_atomic_t signals;

static void count_signal(int signal)
{
	(void)signal;
	signals++;
}

TEST(signals_at_a_high_rate_over_one_thread)
{
	static void *p[1000];
	double end = seconds() + 20;
	uint64_t state = 5;

	fire_every(SIGPROF, count_signal, 100);
	while (signals < 200 && seconds() < end)
		for (int i = 0; i < 1000; i++)
			churn(p, COUNT_OF(p), &state);
	CHECK(signals > 50);
}

TEST(signals_at_a_high_rate_over_many_threads)
{
	struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
	double end = seconds() + 20;

	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	start_noise();
	for (size_t i = 0; signals < 3000 && seconds() < end; i++) {
		pthread_kill(noisy[i % NOISY], SIGUSR1);
		if (i % 16 == 0)
			sched_yield();
	}
	end_noise();
	CHECK(signals > 20);
}

/* Wherever it interrupts a thread, the others wait for the handler at most, not for ever. */
static void sleep_in_handler(int signal)
{
	(void)signal;
	sleep_ms(1);
	signals++;
}

TEST(handlers_that_sleep_inside_malloc)
{
	struct sigaction action = {.sa_handler = sleep_in_handler, .sa_flags = SA_RESTART};

	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	start_noise();
	for (size_t i = 0; i < 1000; i++) {
		pthread_kill(noisy[i % NOISY], SIGUSR1);
		free(malloc(i * 50));
		if (i % 10 == 0)
			sleep_ms(2);
	}
	end_noise();
	CHECK(signals > 20);
}
