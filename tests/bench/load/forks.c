// SPDX-License-Identifier: BSD-3-Clause

/*
 * Threads that fork all the time, so that at almost any moment some fork is under way, while others
 * read long lines and one flushes all streams: what is freed meanwhile must not pile up.
 *
 *	forks [SECONDS]
 *
 * Prints the most MiB that the process had in memory beyond what it had in the beginning and the
 * lines that live. An allocator with which the threads stop for ever is killed 5 seconds later.
 */

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "load.h"
#include "resident.h"

#define FORKERS 4
#define READERS 8
#define LINE 50000
#define PATIENCE 5 /* seconds */

static atomic_bool is_over;
static char path[64]; /* of a file with one line */

static void make_file(void)
{
	static char line[LINE];
	int fd = memfd_create("line", MFD_CLOEXEC);

	memset(line, 'x', LINE - 1);
	line[LINE - 1] = '\n';
	if (fd < 0 || write(fd, line, LINE) != LINE)
		exit(1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
}

static void fork_on(void)
{
	while (!is_over) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			exit(1);
	}
}

static void read_on(void)
{
	FILE *file = load_checked(fopen(path, "r"));

	while (!is_over) {
		char *line = NULL;
		size_t size = 0;

		rewind(file);
		if (getline(&line, &size, file) != LINE)
			exit(1);
		free(line);
	}
	fclose(file);
}

static void flush_on(void)
{
	while (!is_over)
		fflush(NULL);
}

static unsigned int seconds;

static void work(unsigned int index)
{
	if (index == 0) {
		sleep(seconds);
		is_over = true;
	} else if (index == 1) {
		flush_on();
	} else if (index < 2 + FORKERS) {
		fork_on();
	} else {
		read_on();
	}
}

/* With all processes that hang. */
static void give_up(int sig)
{
	(void)sig;
	kill(0, SIGKILL);
}

/* To be killed with its children, but not with the shell's. */
static void prepare_to_hang(void)
{
	setpgid(0, 0);
	signal(SIGALRM, give_up);
	alarm(seconds + PATIENCE);
}

int main(int argc, char **argv)
{
	size_t base = resident_kib();

	seconds = (unsigned int)load_argument(argc, argv, 1, 3);
	prepare_to_hang();
	make_file();
	load_threads(2 + FORKERS + READERS, work);
	printf("%.1f\n", ((double)peak_resident_kib() - (double)base) / 1024 -
				 (double)(READERS * LINE) / (1 << 20));
	return 0;
}
