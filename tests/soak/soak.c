// SPDX-License-Identifier: BSD-3-Clause

/*
 * Random calls of every public function from many threads, for as long as you like:
 *
 *	soak [SECONDS [THREADS [SEED [MIB]]]]
 *
 * Objects grow to at most MIB of live bytes, stay, shrink, and idle, over and over. Each is full of
 * a cookie that is verified at every touch; objects change threads, threads end and others start,
 * children are forked, which allocate, verify and exit. At the end of each phase all threads stand
 * still and quiet.c verifies everything. The seed fixes what each thread draws, not how threads are
 * interleaved.
 *
 * Exit status 0, or a line with FINDING in it, and abort().
 */

#include "soak.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_MS 10000
#define NOTHING (32 * KIB) /* live bytes that are as good as none */
#define LIGHT_MS 1500 /* of light activity, before memory is measured */
#define LIGHT_CALLS 500 /* of every thread, meanwhile */

struct soak soak = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

static int report_fd = STDERR_FILENO;
static uint64_t start_ms, end_ms, next_progress_ms;
static size_t peak_live;

void finding(const char *format, ...)
{
	char line[1024];
	va_list args;
	int n;

	n = snprintf(line, sizeof(line),
		     "soak: FINDING (seed %lu, %u threads, process %d): ", (unsigned long)soak.seed,
		     soak.threads, (int)getpid());
	va_start(args, format);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n] = '\n';
	if (write(report_fd, line, (size_t)n + 1) < 0)
		_exit(2);
	abort();
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

size_t live_bytes_of(enum family family)
{
	long live = 0;

	for (unsigned int i = 0; i < soak.threads; i++)
		live += atomic_load_explicit(&soak.seats[i].live[family], memory_order_relaxed);
	return live > 0 ? (size_t)live : 0;
}

size_t live_bytes(void)
{
	size_t live = 0;

	for (int i = 0; i < FAMILIES; i++)
		live += live_bytes_of((enum family)i);
	return live;
}

/* Memory of the soak's own: not from the allocator, and resident from the start. */
static void *own_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (!p || p == MAP_FAILED)
		finding("no memory for the soak's own tables");
	return p;
}

static void make_seats(void)
{
	size_t room = ALL_OBJECTS / soak.threads;
	uint64_t random = soak.seed * 0x9e3779b97f4a7c15u + 1;

	for (unsigned int i = 0; i < soak.threads; i++) {
		soak.seats[i].objects = own_memory(room * sizeof(struct object));
		soak.seats[i].room = room;
		soak.seats[i].random = random_next(&random) | 1;
	}
	for (size_t i = 0; i < BOXES; i++)
		pthread_mutex_init(&soak.boxes[i].lock, NULL);
}

/* Threads. */

/* Who has ended is followed by the next. */
static void fill_seats(void)
{
	for (unsigned int i = 0; i < soak.threads; i++) {
		struct seat *seat = &soak.seats[i];

		if (seat->is_taken && !atomic_load(&seat->has_ended))
			continue;
		if (seat->is_taken)
			pthread_join(seat->thread, NULL);
		atomic_store(&seat->has_ended, false);
		pthread_mutex_lock(&soak.lock);
		soak.working++;
		pthread_mutex_unlock(&soak.lock);
		if (pthread_create(&seat->thread, NULL, work, seat))
			finding("pthread_create fails");
		seat->is_taken = true;
	}
}

static void empty_seats(void)
{
	atomic_store(&soak.is_over, true);
	for (unsigned int i = 0; i < soak.threads; i++)
		pthread_join(soak.seats[i].thread, NULL);
}

static void stop_all(void)
{
	atomic_store(&soak.is_quiet, true);
	pthread_mutex_lock(&soak.lock);
	while (soak.parked < soak.working)
		pthread_cond_wait(&soak.changed, &soak.lock);
	pthread_mutex_unlock(&soak.lock);
}

static void resume_all(void)
{
	pthread_mutex_lock(&soak.lock);
	atomic_store(&soak.is_quiet, false);
	pthread_cond_broadcast(&soak.changed);
	pthread_mutex_unlock(&soak.lock);
}

/* Reports. */

struct totals {
	unsigned long calls, forks, threads;
};

static struct totals sum(void)
{
	struct totals t = {0};

	for (unsigned int i = 0; i < soak.threads; i++) {
		t.calls += atomic_load(&soak.seats[i].calls);
		t.forks += atomic_load(&soak.seats[i].forks);
		t.threads += atomic_load(&soak.seats[i].threads);
	}
	return t;
}

static void print_figures(const char *what)
{
	struct totals t = sum();

	printf("%s: seed %lu, %lu s, %lu calls, live %zu MiB, peak live %zu MiB, peak resident "
	       "%zu MiB, %lu forks, %lu threads ended, %lu whole checks, beyond need at worst %zu "
	       "KiB idle and %zu KiB trimmed\n",
	       what, (unsigned long)soak.seed, (unsigned long)((now_ms() - start_ms) / 1000),
	       t.calls, live_bytes() / MIB, peak_live / MIB, quiet_figures.peak_resident / MIB,
	       t.forks, t.threads, quiet_figures.checks, quiet_figures.worst_kept / KIB,
	       quiet_figures.worst_trimmed / KIB);
}

static void tick(void)
{
	size_t live = live_bytes();

	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	fill_seats();
	if (live > peak_live)
		peak_live = live;
	if (now_ms() >= next_progress_ms) {
		print_figures("soak");
		next_progress_ms += PROGRESS_MS;
	}
}

/* Phases. */

static void set_target(enum phase phase, uint64_t *random)
{
	size_t peak = soak.max_live / 100 * 90, target;

	if (phase == PHASE_GROW)
		target = peak / 4 + random_below(random, peak / 4 * 3);
	else if (phase == PHASE_SHRINK)
		target = random_below(random, 2) ? random_below(random, peak) : 0;
	else
		target = atomic_load(&soak.target);
	atomic_store(&soak.target, target);
	atomic_store(&soak.phase, phase);
}

static bool is_reached(enum phase phase, size_t live, size_t target)
{
	return (phase == PHASE_GROW && live >= target) ||
	       (phase == PHASE_SHRINK && live <= target + NOTHING);
}

/* To come there may take longer than to stay, where others want the machine, too. */
static void wait_for_target(enum phase phase, uint64_t phase_ms)
{
	uint64_t until = now_ms() + (phase == PHASE_STEADY ? phase_ms : 10 * phase_ms);

	while (now_ms() < until && !is_reached(phase, live_bytes(), atomic_load(&soak.target)))
		tick();
}

static bool have_all_idled(const unsigned long *calls)
{
	for (unsigned int i = 0; i < soak.threads; i++)
		if (atomic_load(&soak.seats[i].light_calls) - calls[i] < LIGHT_CALLS)
			return false;
	return true;
}

/* Light activity is some calls of every thread, spread over a time; it may take longer. */
static void wait_idly(void)
{
	unsigned long calls[MAX_THREADS];
	uint64_t until = now_ms() + LIGHT_MS;

	for (unsigned int i = 0; i < soak.threads; i++)
		calls[i] = atomic_load(&soak.seats[i].light_calls);
	while (now_ms() < until || !have_all_idled(calls))
		tick();
}

static void cycle(uint64_t phase_ms, uint64_t *random)
{
	for (enum phase phase = 0; phase < PHASES; phase++) {
		set_target(phase, random);
		if (phase == PHASE_IDLE)
			wait_idly();
		else
			wait_for_target(phase, phase_ms);
		stop_all();
		quiet_check(phase == PHASE_IDLE ? QUIET_IDLE : QUIET_BUSY);
		resume_all();
	}
}

static void drop_all(void)
{
	uint64_t random = soak.seed | 1;

	for (unsigned int i = 0; i < soak.threads; i++)
		while (soak.seats[i].count)
			object_drop(&soak.seats[i].objects[--soak.seats[i].count], &random);
	for (size_t i = 0; i < BOXES; i++)
		if (soak.boxes[i].is_full)
			object_drop(&soak.boxes[i].object, &random);
	for (size_t i = 0; i < BOXES; i++)
		soak.boxes[i].is_full = false;
}

static void run(uint64_t seconds)
{
	uint64_t random = soak.seed | 1, phase_ms = seconds * 1000 / 8;

	phase_ms = phase_ms > 4000 ? 4000 : phase_ms;
	start_ms = now_ms();
	end_ms = start_ms + seconds * 1000;
	next_progress_ms = start_ms + PROGRESS_MS;
	do {
		cycle(phase_ms, &random);
		atomic_store(&soak.is_late, now_ms() > start_ms + seconds * 500);
	} while (now_ms() < end_ms);
	empty_seats();
	drop_all();
	for (unsigned int i = 0; i < soak.threads; i++)
		memset(soak.seats[i].live, 0, sizeof(soak.seats[i].live));
	quiet_check(QUIET_END);
}

static uint64_t argument(int argc, char **argv, int nr, uint64_t otherwise)
{
	return argc > nr && *argv[nr] ? strtoull(argv[nr], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	uint64_t seconds = argument(argc, argv, 1, 60);
	const char *options = getenv("OSMEM_OPTIONS");

	soak.threads = (unsigned int)argument(argc, argv, 2, 8);
	soak.seed =
		argument(argc, argv, 3, (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000);
	soak.max_live = argument(argc, argv, 4, 400) * MIB;
	soak.is_hardened = options && strstr(options, "hardened");
	if (soak.threads < 1 || soak.threads > MAX_THREADS || soak.max_live < 16 * MIB) {
		fprintf(stderr, "soak: 1 to %d threads, and 16 MiB at least\n", MAX_THREADS);
		return 2;
	}
	report_fd = dup(STDERR_FILENO);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("soak: SECONDS=%lu THREADS=%u SEED=%lu, %zu MiB live at most, OSMEM_OPTIONS=%s\n",
	       (unsigned long)seconds, soak.threads, (unsigned long)soak.seed, soak.max_live / MIB,
	       options ? options : "");
	make_seats();
	quiet_begin();
	fill_seats();
	run(seconds);
	print_figures("soak: no finding");
	return 0;
}
