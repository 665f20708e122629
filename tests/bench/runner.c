// SPDX-License-Identifier: BSD-3-Clause

/*
 * Run one workload under several allocators by turns, so that whatever else the machine does meets
 * them all alike, and report medians.
 *
 *	runner [-n ROUNDS] [-t SECONDS] [-v UNIT] [-m MARK] BENCH WORKLOAD
 *	       VARIANT[=LIBRARY[+OPTIONS]]… -- COMMAND [ARGUMENT]…
 *
 * The first variant is the base that ratios refer to. A variant's library is preloaded, and OPTIONS
 * are its OSMEM_OPTIONS; {} in the command stands for the variant's name. With -v the first number
 * that the command prints is a measurement in that unit. A command may take SECONDS (60), and must
 * exit with 0.
 *
 * Standard output gets a line for each variant, in the columns of print_row; --columns prints their
 * names instead. Figures are medians of the rounds, the least ones follow; ratios are medians of
 * the rounds' ratios. The resident set is that of the largest process among the command and its
 * children, the minor faults are those of all. MARK is copied: the report knows what it means.
 * Standard error gets a line of progress.
 */

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_VARIANTS 16
#define MAX_ROUNDS 101

enum metric {
	WALL, /* ms */
	CPU, /* ms, user and system */
	RSS, /* KiB */
	FAULTS, /* minor ones */
	VALUE, /* what the command says of itself */
	METRICS,
};

struct variant {
	char *name;
	const char *library, *options; /* or NULL */
	char status[32]; /* "ok", or how it failed */
	double samples[METRICS][MAX_ROUNDS];
};

static const char *const metric_names[METRICS] = {"wall_ms", "cpu_ms", "rss_kib", "faults",
						  "value"};

static struct variant variants[MAX_VARIANTS];
static int variant_count;
static int rounds = 5;
static unsigned int seconds = 60;
static const char *unit = "", *target = "";
static const char *bench, *workload;

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double to_ms(const struct timeval *t)
{
	return (double)t->tv_sec * 1e3 + (double)t->tv_usec / 1e3;
}

static void usage(void)
{
	fprintf(stderr, "usage: runner --columns\n       runner [-n ROUNDS] [-t SECONDS] [-v UNIT] "
			"[-m MARK] BENCH WORKLOAD "
			"VARIANT[=LIBRARY]... -- COMMAND...\n");
	exit(2);
}

/* One run of a command. */

/* arg with its first {} replaced by name. */
static char *substitute(char *arg, const char *name)
{
	const char *hole = strstr(arg, "{}");
	char *text;

	if (!hole)
		return arg;
	if (asprintf(&text, "%.*s%s%s", (int)(hole - arg), arg, name, hole + 2) < 0)
		exit(1);
	return text;
}

static void become(const struct variant *v, char **command, int out)
{
	for (char **arg = command; *arg; arg++)
		*arg = substitute(*arg, v->name);
	dup2(out, STDOUT_FILENO);
	if (v->library)
		setenv("LD_PRELOAD", v->library, 1);
	if (v->options)
		setenv("OSMEM_OPTIONS", v->options, 1);
	alarm(seconds);
	execvp(command[0], command);
	perror(command[0]);
	_exit(127);
}

/* The first number of what comes through fd; reads to the end. */
static double read_value(int fd)
{
	char text[256] = "", scrap[4096];
	ssize_t n = read(fd, text, sizeof(text) - 1);

	while (n > 0)
		n = read(fd, scrap, sizeof(scrap));
	return strtod(text, NULL);
}

static void note_status(struct variant *v, int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(v->status, sizeof(v->status), "not done in %u s", seconds);
	else if (WIFSIGNALED(status))
		snprintf(v->status, sizeof(v->status), "signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		snprintf(v->status, sizeof(v->status), "exit status %d", WEXITSTATUS(status));
}

static void run(struct variant *v, char **command, int round)
{
	struct rusage usage;
	int fds[2], status;
	double start;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		exit(1);
	start = now_ms();
	pid = fork();
	if (pid < 0)
		exit(1);
	if (pid == 0)
		become(v, command, fds[1]);
	close(fds[1]);
	v->samples[VALUE][round] = read_value(fds[0]);
	close(fds[0]);
	if (wait4(pid, &status, 0, &usage) != pid)
		exit(1);
	v->samples[WALL][round] = now_ms() - start;
	v->samples[CPU][round] = to_ms(&usage.ru_utime) + to_ms(&usage.ru_stime);
	v->samples[RSS][round] = (double)usage.ru_maxrss;
	v->samples[FAULTS][round] = (double)usage.ru_minflt;
	note_status(v, status);
}

static void run_all(char **command)
{
	fprintf(stderr, "%s %s:", bench, workload);
	for (int round = 0; round < rounds; round++) {
		fprintf(stderr, " %d", round + 1);
		for (int i = 0; i < variant_count; i++) {
			struct variant *v = &variants[(i + round) % variant_count];

			if (strcmp(v->status, "ok") == 0)
				run(v, command, round);
		}
	}
	fprintf(stderr, "\n");
}

/* Medians and other figures of a variant. */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *samples)
{
	double sorted[MAX_ROUNDS];

	memcpy(sorted, samples, (size_t)rounds * sizeof(*samples));
	qsort(sorted, (size_t)rounds, sizeof(*sorted), compare);
	return (sorted[(rounds - 1) / 2] + sorted[rounds / 2]) / 2;
}

static double least(const struct variant *v, enum metric metric)
{
	double best = v->samples[metric][0];

	for (int i = 1; i < rounds; i++)
		if (v->samples[metric][i] < best)
			best = v->samples[metric][i];
	return best;
}

static double middle(const struct variant *v, enum metric metric)
{
	return median(v->samples[metric]);
}

static double ratio(const struct variant *v, enum metric metric)
{
	double ratios[MAX_ROUNDS];

	for (int i = 0; i < rounds; i++) {
		double base = variants[0].samples[metric][i];

		ratios[i] = base > 0 ? v->samples[metric][i] / base : 0;
	}
	return median(ratios);
}

/* Rows. */

static void print_columns(void)
{
	printf("bench,workload,variant,rounds,status,unit,target");
	for (int m = 0; m < METRICS; m++)
		printf(",%s", metric_names[m]);
	for (int m = 0; m < METRICS; m++)
		printf(",%s_least", metric_names[m]);
	for (int m = 0; m < METRICS; m++)
		printf(",%s_ratio", metric_names[m]);
	printf("\n");
}

static void print_figures(const struct variant *v,
			  double (*figure)(const struct variant *, enum metric))
{
	bool has_run = strcmp(v->status, "ok") == 0;

	for (int m = 0; m < METRICS; m++)
		printf(",%.3f", has_run ? figure(v, (enum metric)m) : 0.0);
}

static void print_row(const struct variant *v)
{
	printf("%s,%s,%s,%d,%s,%s,%s", bench, workload, v->name, rounds, v->status, unit, target);
	print_figures(v, middle);
	print_figures(v, least);
	print_figures(v, ratio);
	printf("\n");
}

/* Arguments. */

static void read_options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "+n:t:v:m:")) != -1) {
		if (option == 'n')
			rounds = atoi(optarg);
		else if (option == 't')
			seconds = (unsigned int)atoi(optarg);
		else if (option == 'v')
			unit = optarg;
		else if (option == 'm')
			target = optarg;
		else
			usage();
	}
	if (rounds < 1 || rounds > MAX_ROUNDS)
		usage();
}

static void add_variant(char *text)
{
	struct variant *v;
	char *equals = strchr(text, '='), *plus = strchr(text, '+');

	if (variant_count == MAX_VARIANTS)
		usage();
	v = &variants[variant_count++];
	v->name = text;
	if (equals) {
		*equals = '\0';
		v->library = equals[1] ? equals + 1 : NULL;
	}
	if (plus) {
		*plus = '\0';
		v->options = plus + 1;
	}
	strcpy(v->status, "ok");
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--columns") == 0) {
		print_columns();
		return 0;
	}
	read_options(argc, argv);
	if (argc - optind < 2)
		usage();
	bench = argv[optind++];
	workload = argv[optind++];
	while (optind < argc && strcmp(argv[optind], "--") != 0)
		add_variant(argv[optind++]);
	if (variant_count == 0 || argc - optind < 2)
		usage();
	run_all(argv + optind + 1);
	for (int i = 0; i < variant_count; i++)
		print_row(&variants[i]);
	return 0;
}
