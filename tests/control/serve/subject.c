// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program that is served: subject MODE [ARGUMENT…]. It does what the mode says, writes a line,
 * and waits until it is killed, for 30 seconds at most, or until its standard input ends.
 *
 *	wait			nothing
 *	closed			close all descriptors but 0 to 2
 *	moved			go to the root folder
 *	forked			fork; the child waits as well. The line has its id
 *	daemon			fork; the parent ends by _exit(), and the child waits
 *	exits			a forked child calls exit(), and 20 others _exit(); the parent waits
 *	executed COMMAND…	execute it
 *	peak MIB SIZE THREADS	allocate MIB of objects of SIZE in so many threads, free them in
 *				random order, and sleep. The line has the peak of resident MiB, and
 *				then what is resident each quarter second
 *	tight			make and free objects for ever
 *	handles			take SIGUSR1 and SIGTERM; each writes a line
 *	sleeps			sleep in one call, which a signal interrupts; then write a line
 */

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(1);
}

static void wait_for_end(void)
{
	char c;

	alarm(30);
	say("ready\n");
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	exit(0);
}

static void nap(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static void fork_child(int ends)
{
	char line[32];
	pid_t child = fork();

	if (child == 0 && ends)
		exit(0);
	if (child == 0)
		wait_for_end();
	for (int i = 0; ends && i < 20; i++)
		if (fork() == 0)
			_exit(0);
	while (ends && wait(NULL) > 0)
		;
	snprintf(line, sizeof(line), "%d\n", (int)child);
	say(line);
	wait_for_end();
}

/* ---- Peaks ---- */

static size_t size, per_thread;
static pthread_barrier_t met;

static size_t resident_mib(void)
{
	char text[128] = {0};
	int fd = open("/proc/self/statm", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		_exit(1);
	close(fd);
	return strtoul(strchr(text, ' '), NULL, 10) * (size_t)getpagesize() >> 20;
}

static void allocate_and_free(void)
{
	size_t n = per_thread / size;
	void **all = malloc(n * sizeof(*all));

	for (size_t i = 0; i < n; i++)
		all[i] = memset(malloc(size), 1, size);
	pthread_barrier_wait(&met);
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)rand() % i;
		void *p = all[j];

		all[j] = all[i - 1];
		all[i - 1] = p;
	}
	for (size_t i = 0; i < n; i++)
		free(all[i]);
	free(all);
	pthread_barrier_wait(&met);
}

static __attribute__((noreturn)) void *sleep_behind_peak(void *unused)
{
	(void)unused;
	allocate_and_free();
	for (;;)
		pause();
}

static void peak(size_t mib, unsigned int threads)
{
	char line[128];
	struct rusage usage;
	int n;

	per_thread = (mib << 20) / threads;
	pthread_barrier_init(&met, NULL, threads);
	for (unsigned int i = 1; i < threads; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, sleep_behind_peak, NULL);
	}
	allocate_and_free();
	getrusage(RUSAGE_SELF, &usage);
	n = snprintf(line, sizeof(line), "%ld ", usage.ru_maxrss >> 10);
	for (unsigned int i = 0; i <= 8; i++) {
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%zu ", resident_mib());
		nap(250);
	}
	say(line);
	say("\n");
	wait_for_end();
}

/* ---- Signals ---- */

static void on_usr1(int signal)
{
	(void)signal;
	say("took SIGUSR1\n");
}

static void on_term(int signal)
{
	(void)signal;
	say("took SIGTERM\n");
}

static void make_and_free(void)
{
	alarm(30);
	say("ready\n");
	for (;;) {
		void *volatile p[64];

		for (int i = 0; i < 64; i++)
			p[i] = malloc((size_t)(rand() % 40000));
		for (int i = 0; i < 64; i++)
			free(p[i]);
	}
}

static void sleep_once(void)
{
	say("ready\n");
	nap(10000);
	say("interrupted\n");
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "wait";

	if (!strcmp(mode, "closed"))
		for (int fd = 3; fd < 70000; fd++)
			close(fd);
	if (!strcmp(mode, "moved") && chdir("/"))
		return 1;
	if (!strcmp(mode, "forked") || !strcmp(mode, "exits"))
		fork_child(!strcmp(mode, "exits"));
	if (!strcmp(mode, "daemon") && fork())
		_exit(0);
	if (!strcmp(mode, "executed")) {
		execv(argv[2], argv + 2);
		return 1;
	}
	if (!strcmp(mode, "peak") && argc == 5) {
		size = strtoul(argv[3], NULL, 10);
		peak(strtoul(argv[2], NULL, 10), (unsigned int)atoi(argv[4]));
	}
	if (!strcmp(mode, "tight"))
		make_and_free();
	if (!strcmp(mode, "handles")) {
		signal(SIGUSR1, on_usr1);
		signal(SIGTERM, on_term);
	}
	if (!strcmp(mode, "sleeps")) {
		sleep_once();
		return 3;
	}
	wait_for_end();
}
