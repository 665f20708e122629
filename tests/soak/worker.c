// SPDX-License-Identifier: BSD-3-Clause

/*
 * What threads do: a step is one call or a few on one object. How often objects come and go follows
 * the phase's target of live bytes; what is dear (forks, trims, options) is rare.
 */

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/tcache.h"
#include "osmem.h"
#include "slab/slab.h"
#include "soak.h"

#define BRIEF_OBJECTS 64 /* of short-lived threads */

/* Sizes. A mixture is a few ranges, each so often in a thousand. */

struct range {
	size_t low, high;
	unsigned int weight;
};

#define RANGES 8

static const struct range mixtures[][RANGES] = {
	{{0, 64, 1000}},
	{{8, 64, 500},
	 {65, 256, 250},
	 {257, 1024, 150},
	 {1025, 8192, 80},
	 {8193, 65536, 18},
	 {65537, 300000, 2}},
	{{16, 512, 1000}},
	{{1, 16, 200}, {17, 128, 300}, {129, 1024, 350}, {1025, 8192, 140}, {8193, 40000, 10}},
	{{0, 0, 0}}, /* all alike: seat->range */
	/* From here on pages are what costs: chosen less often. */
	{{4080, 4112, 500}, {8176, 8208, 300}, {32752, 32784, 200}},
	{{100, 5000, 700}, {20000, 300000, 300}},
	{{1, 200, 980}, {131072, 4 << 20, 19}, {4 << 20, 40 << 20, 1}},
};

#define CHEAP_MIXTURES 5
#define LIGHT_MIXTURE 2

static void choose_mixture(struct seat *seat)
{
	uint64_t *random = &seat->random;
	size_t size = (size_t)1 << random_below(random, 13);
	size_t choices = random_below(random, 4) ? CHEAP_MIXTURES : COUNT_OF(mixtures);

	seat->mixture = (unsigned int)random_below(random, choices);
	size += random_below(random, size);
	seat->range[0] = size;
	seat->range[1] = size + random_below(random, 2);
}

static size_t choose_size(struct seat *seat)
{
	const struct range *range = mixtures[seat->mixture];
	size_t nr = random_below(&seat->random, 1000), size;

	if (!range->weight)
		return seat->range[0] +
		       random_below(&seat->random, seat->range[1] - seat->range[0] + 1);
	for (; nr >= range->weight; range++)
		nr -= range->weight;
	size = range->low + random_below(&seat->random, range->high - range->low + 1);
	if (size > MIB && live_bytes() + size > soak.max_live)
		return size % 1000;
	return size;
}

/* Objects come and go. */

static void note_live(struct seat *seat, enum family family, long bytes)
{
	atomic_fetch_add_explicit(&seat->live[family], bytes, memory_order_relaxed);
}

static void count(_Atomic(unsigned long) *figure)
{
	atomic_fetch_add_explicit(figure, 1, memory_order_relaxed);
}

/* The course's heap keeps its pages: it gets a quarter at most. */
static enum family choose_family(struct seat *seat)
{
	size_t nr = random_below(&seat->random, 4);

	if (nr == 0 && live_bytes_of(FAMILY_COURSE) < soak.max_live / 4)
		return FAMILY_COURSE;
	return nr == 1 ? FAMILY_CXX : FAMILY_LIBC;
}

static void get(struct seat *seat)
{
	enum family family = choose_family(seat);
	size_t size = choose_size(seat);

	object_get(&seat->objects[seat->count++], family, size, &seat->random);
	note_live(seat, family, (long)size);
	count(&seat->calls);
}

static struct object *choose(struct seat *seat)
{
	return &seat->objects[random_below(&seat->random, seat->count)];
}

static void drop(struct seat *seat)
{
	struct object *o = choose(seat);

	note_live(seat, object_family(o), -(long)o->size);
	object_drop(o, &seat->random);
	*o = seat->objects[--seat->count];
	count(&seat->calls);
}

static void resize(struct seat *seat)
{
	struct object *o = choose(seat);
	size_t size = choose_size(seat), old = o->size;

	if (random_below(&seat->random, 2)) /* often by little, as buffers grow */
		size = old + old / 4 + size % 64;
	if (size > MIB && live_bytes() + size > soak.max_live)
		size = old / 2;
	object_resize(o, size, &seat->random);
	note_live(seat, object_family(o), (long)o->size - (long)old);
	count(&seat->calls);
}

/*
 * Put one object into a box, and take what was in it. While objects are to go, only take: a few
 * that stay would keep their slabs.
 */
static void hand_over(struct seat *seat)
{
	struct box *box = &soak.boxes[random_below(&seat->random, BOXES)];
	bool is_put = seat->count && atomic_load(&soak.phase) != PHASE_SHRINK, was_full;
	struct object other;

	if (seat->count == seat->room)
		return;
	pthread_mutex_lock(&box->lock);
	other = box->object;
	was_full = box->is_full;
	if (is_put)
		box->object = seat->objects[--seat->count];
	box->is_full = is_put;
	pthread_mutex_unlock(&box->lock);
	if (was_full) {
		object_check(&other);
		seat->objects[seat->count++] = other;
	}
}

/* Straight to a target that is far away, around one that is near. */
static bool is_to_grow(struct seat *seat)
{
	size_t live = live_bytes(), target = atomic_load(&soak.target);
	size_t less = target - target / 8, more = target + target / 8;
	size_t chance = random_below(&seat->random, 100);

	if (seat->count == seat->room)
		return false;
	if (live < target)
		return live < less ? chance < 97 : chance < 60;
	return live > more ? chance < 3 : chance < 40;
}

static void get_or_drop(struct seat *seat)
{
	if (seat->count == 0 || is_to_grow(seat))
		get(seat);
	else
		drop(seat);
}

static void step(struct seat *seat)
{
	size_t nr = random_below(&seat->random, 1000);

	if (seat->count == 0 && atomic_load(&soak.phase) == PHASE_SHRINK)
		hand_over(seat);
	else if (nr < 800 || seat->count == 0)
		get_or_drop(seat);
	else if (nr < 880)
		resize(seat);
	else if (nr < 950)
		object_renew(choose(seat), &seat->random);
	else if (nr < 998)
		hand_over(seat);
	else
		objects_refused(&seat->random);
}

/*
 * Threads that come, work a little and end; their thread-specific data allocate and free once more.
 */

static pthread_key_t leaving;

static void leave(void *kept)
{
	void *p = malloc(100);

	free(kept);
	free(p);
	os_free(os_malloc(100));
}

static void enter(void)
{
	if (pthread_setspecific(leaving, malloc(40)))
		finding("pthread_setspecific fails");
}

__attribute__((constructor)) static void make_key(void)
{
	pthread_key_create(&leaving, leave);
}

static void *work_briefly(void *arg)
{
	struct seat *seat = arg;

	enter();
	for (int i = 0; i < 300; i++) {
		if (seat->count < seat->room && random_below(&seat->random, 2))
			get(seat);
		else if (seat->count)
			drop(seat);
	}
	return NULL;
}

/* The brief thread's objects outlive it, and are freed by this one. */
static void start_briefly(struct seat *seat)
{
	struct object objects[BRIEF_OBJECTS];
	struct seat brief = {
		.objects = objects, .room = BRIEF_OBJECTS, .random = random_next(&seat->random)};
	pthread_t thread;

	choose_mixture(&brief);
	if (pthread_create(&thread, NULL, work_briefly, &brief))
		finding("pthread_create fails");
	pthread_join(thread, NULL);
	while (brief.count)
		drop(&brief);
	for (int i = 0; i < FAMILIES; i++)
		note_live(seat, (enum family)i, atomic_load(&brief.live[i]));
	count(&seat->threads);
}

/* Children. */

/* malloc_stats writes to standard error. */
static void call_malloc_stats(void)
{
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);

	dup2(null, STDERR_FILENO);
	malloc_stats();
	dup2(saved, STDERR_FILENO);
	close(null);
	close(saved);
}

static void live_as_child(struct seat *seat, bool is_first)
{
	alarm(600);
	for (int i = 0; i < 1000; i++) {
		if (random_below(&seat->random, 4) == 0 && seat->count)
			resize(seat);
		else if (random_below(&seat->random, 2) && seat->count < seat->room)
			get(seat);
		else if (seat->count)
			drop(seat);
	}
	if (random_below(&seat->random, 4) == 0)
		start_briefly(seat);
	if (random_below(&seat->random, 4) == 0)
		call_malloc_stats();
	if (random_below(&seat->random, 4) == 0)
		malloc_trim(0);
	if (is_first && random_below(&seat->random, 4) == 0)
		check_invariants("in a child: ");
}

static void fork_and_wait(struct seat *seat, bool is_first)
{
	uint64_t child_random = random_next(&seat->random);
	int status;
	pid_t pid = fork();

	if (pid < 0)
		finding("fork fails: %s", strerror(errno));
	if (pid == 0) {
		seat->random = child_random;
		live_as_child(seat, is_first);
		if (is_first && random_below(&seat->random, 8) == 0)
			fork_and_wait(seat, false);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			finding("waitpid fails: %s", strerror(errno));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		finding("child %d hangs", (int)pid);
	if (status)
		finding("child %d ends with wait status %#x", (int)pid, (unsigned int)status);
	count(&seat->forks);
}

static void fork_once(struct seat *seat)
{
	fork_and_wait(seat, true);
}

/* What is rare. */

static void trim(struct seat *seat)
{
	malloc_trim(random_below(&seat->random, 4096));
}

static void set_options(struct seat *seat)
{
	uint64_t *random = &seat->random;

	mallopt(M_TRIM_THRESHOLD, (int)random_below(random, MIB));
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_PERTURB, random_below(random, 8) ? 0 : (int)random_below(random, 256));
	if (atomic_load(&soak.is_late))
		mallopt(M_MMAP_THRESHOLD, (int)(64 * KIB << random_below(random, 6)));
	if (mallopt(12345, 1))
		finding("mallopt knows parameter 12345");
}

static void read_figures(struct seat *seat)
{
	struct mallinfo2 info = mallinfo2();

	(void)seat;
	if (info.arena != info.uordblks + info.fordblks)
		finding("mallinfo2: arena %zu is not uordblks %zu + fordblks %zu", info.arena,
			info.uordblks, info.fordblks);
}

static void write_info(struct seat *seat)
{
	FILE *null = fopen("/dev/null", "w");

	(void)seat;
	if (!null || malloc_info(0, null))
		finding("malloc_info fails");
	fclose(null);
}

#define RARE_STEPS 64 /* between two looks at what is rare */

/* Once in so many steps: work sets the pace, so that a slow machine does not do that alone. */
static const struct rare {
	void (*run)(struct seat *seat);
	unsigned int steps;
} rares[] = {
	{fork_once, 6000},   {start_briefly, 1000}, {trim, 20000},
	{set_options, 8000}, {read_figures, 2000},  {write_info, 4000},
};

static void do_what_is_rare(struct seat *seat)
{
	for (size_t i = 0; i < COUNT_OF(rares); i++) {
		if (random_below(&seat->random, rares[i].steps / RARE_STEPS))
			continue;
		rares[i].run(seat);
		count(&seat->calls);
	}
}

/* A thread. */

static void park(void)
{
	pthread_mutex_lock(&soak.lock);
	soak.parked++;
	pthread_cond_broadcast(&soak.changed);
	while (atomic_load(&soak.is_quiet))
		pthread_cond_wait(&soak.changed, &soak.lock);
	soak.parked--;
	pthread_mutex_unlock(&soak.lock);
}

/* A few calls, then nothing for a while. */
static void idle(struct seat *seat)
{
	seat->mixture = LIGHT_MIXTURE;
	for (int i = 0; i < 16; i++) {
		get_or_drop(seat);
		count(&seat->light_calls);
	}
	nanosleep(&(struct timespec){.tv_nsec = 4000000}, NULL);
}

static void work_for(struct seat *seat, size_t steps)
{
	for (size_t i = 0; i < steps && !atomic_load(&soak.is_over); i++) {
		if (atomic_load(&soak.is_quiet))
			park();
		if (atomic_load(&soak.phase) == PHASE_IDLE)
			idle(seat);
		else
			step(seat);
		if (i % 4096 == 0)
			choose_mixture(seat);
		if (i % RARE_STEPS == 0 && atomic_load(&soak.phase) != PHASE_IDLE)
			do_what_is_rare(seat);
	}
}

void *work(void *arg)
{
	struct seat *seat = arg;

	enter();
	work_for(seat, 1000 + random_below(&seat->random, 1000000));
	count(&seat->threads);
	pthread_mutex_lock(&soak.lock);
	soak.working--;
	atomic_store(&seat->has_ended, true);
	pthread_cond_broadcast(&soak.changed);
	pthread_mutex_unlock(&soak.lock);
	return NULL;
}
