// SPDX-License-Identifier: BSD-3-Clause

/*
 * namespace GUEST ROUNDS [MIB [os]]: a library in a namespace of its own, which dlmopen has made,
 * starts threads with a libc of its own, and they work here while main does the same. The program's
 * libc believes that there is one thread. No more than MIB are resident ever. With os, they call
 * os_malloc and so on. Exit status 2: dlmopen does not work here.
 */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>

#define THREADS 3
#define OBJECTS 256
#define STEPS 60000

struct worker {
	unsigned int nr;
	uint64_t random;
	unsigned char *objects[OBJECTS];
	size_t sizes[OBJECTS];
};

static void *(*alloc)(size_t size) = malloc;
static void *(*resize)(void *p, size_t size) = realloc;
static void (*release)(void *p) = free;

/* Objects go from one worker to another through here. */
static unsigned char *box;

static uint64_t draw(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random >> 11;
}

static size_t draw_size(struct worker *w)
{
	switch (draw(w) % 32) {
	case 0:
		return 33000 + draw(w) % 300000;
	case 1:
	case 2:
	case 3:
		return 1024 + draw(w) % 31000;
	default:
		return 16 + draw(w) % 1000;
	}
}

/* Of what is in object i, the ends have the worker's mark. */
static void expect_mark(const struct worker *w, size_t i)
{
	unsigned char mark = (unsigned char)(w->nr * 64 + i % 64);

	if (w->objects[i][0] != mark || w->objects[i][w->sizes[i] - 1] != mark)
		__builtin_trap();
}

static void put(struct worker *w, size_t i, void *p, size_t size)
{
	if (!p)
		__builtin_trap();
	w->objects[i] = p;
	w->sizes[i] = size;
	w->objects[i][0] = w->objects[i][size - 1] = (unsigned char)(w->nr * 64 + i % 64);
}

static void step(struct worker *w)
{
	size_t i = draw(w) % OBJECTS, size = draw_size(w);

	if (!w->objects[i]) {
		put(w, i, alloc(size), size);
		return;
	}
	expect_mark(w, i);
	switch (draw(w) % 8) {
	case 0:
		put(w, i, resize(w->objects[i], size), size);
		break;
	case 1:
		release(__atomic_exchange_n(&box, w->objects[i], __ATOMIC_ACQ_REL));
		w->objects[i] = NULL;
		break;
	default:
		release(w->objects[i]);
		w->objects[i] = NULL;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned int n = 0; n < STEPS; n++)
		step(w);
	for (size_t i = 0; i < OBJECTS; i++) {
		if (w->objects[i])
			expect_mark(w, i);
		release(w->objects[i]);
		w->objects[i] = NULL;
	}
	return NULL;
}

static void use_os(void)
{
	*(void **)&alloc = dlsym(RTLD_DEFAULT, "os_malloc");
	*(void **)&resize = dlsym(RTLD_DEFAULT, "os_realloc");
	*(void **)&release = dlsym(RTLD_DEFAULT, "os_free");
}

static long peak_mib(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss / 1024 : 0;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS + 1];
	unsigned int rounds = argc > 2 ? (unsigned int)atoi(argv[2]) : 0;
	void *guest = dlmopen(LM_ID_NEWLM, argc > 1 ? argv[1] : "", RTLD_NOW);
	int (*start)(void *(*work)(void *), void *const args[]);
	void *args[THREADS];
	int (*join)(void);

	if (!guest) {
		fprintf(stderr, "dlmopen: %s\n", dlerror());
		return 2;
	}
	*(void **)&start = dlsym(guest, "guest_start");
	*(void **)&join = dlsym(guest, "guest_join");
	if (argc > 4)
		use_os();
	for (unsigned int i = 0; i <= THREADS; i++)
		workers[i] = (struct worker){.nr = i, .random = 0x9e3779b97f4a7c15u * (i + 1)};
	for (unsigned int i = 0; i < THREADS; i++)
		args[i] = &workers[i];
	work(&workers[THREADS]); /* alone, as libc and the library think */
	while (rounds--) {
		if (start(work, args) != 0)
			return 2;
		work(&workers[THREADS]);
		if (join() != 0)
			return 1;
	}
	if (argc > 3 && peak_mib() > atol(argv[3])) {
		fprintf(stderr, "%ld MiB were resident\n", peak_mib());
		return 1;
	}
	if (!__libc_single_threaded) {
		fprintf(stderr, "the program's libc knows of the threads: nothing was tried\n");
		return 1;
	}
	return 0;
}
