// SPDX-License-Identifier: BSD-3-Clause

/*
 * Buffers that grow by realloc.
 *
 *	append [BYTES [THREADS [strings|vectors|log]]]
 *
 * strings: many strings side by side get a few bytes at a time, as in parsers and templates.
 * vectors: arrays that grow by half when they are full, to 4 MiB. log: one buffer that grows by
 * 4 KiB at a time to 4 MiB, as when a file or a socket is read to its end.
 */

#include "load.h"

#define STRINGS 500
#define LONGEST_STRING 2000
#define MIB ((size_t)1 << 20)

static size_t bytes;
static void (*append)(uint64_t *seed);

static unsigned char *grow(unsigned char *p, size_t from, size_t to)
{
	p = load_touch(realloc(p, to), to);
	memset(p + from, 'x', to - from);
	return p;
}

static void append_strings(uint64_t *seed)
{
	unsigned char *strings[STRINGS] = {NULL};
	size_t lengths[STRINGS] = {0};

	for (size_t done = 0; done < bytes;) {
		size_t i = load_below(seed, STRINGS), more = load_between(seed, 1, 48);

		if (lengths[i] > LONGEST_STRING) {
			free(strings[i]);
			strings[i] = NULL;
			lengths[i] = 0;
		}
		strings[i] = grow(strings[i], lengths[i], lengths[i] + more);
		lengths[i] += more;
		done += more;
	}
	for (size_t i = 0; i < STRINGS; i++)
		free(strings[i]);
}

static void append_vectors(uint64_t *seed)
{
	for (size_t done = 0; done < bytes;) {
		size_t length = load_between(seed, 16, 64), end = load_power(seed, 10, 22);
		unsigned char *vector = grow(NULL, 0, length);

		while (length < end) {
			size_t more = length / 2;

			vector = grow(vector, length, length + more);
			length += more;
		}
		free(vector);
		done += length;
	}
}

static void append_log(uint64_t *seed)
{
	(void)seed;
	for (size_t done = 0; done < bytes; done += 4 * MIB) {
		unsigned char *log = NULL;

		for (size_t length = 0; length < 4 * MIB; length += 4096)
			log = grow(log, length, length + 4096);
		free(log);
	}
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);

	append(&seed);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);
	const char *kind = argc > 3 ? argv[3] : "strings";

	bytes = load_argument(argc, argv, 1, 200 * MIB) / threads;
	append = append_strings;
	if (strcmp(kind, "vectors") == 0)
		append = append_vectors;
	else if (strcmp(kind, "log") == 0)
		append = append_log;
	load_threads(threads, work);
	return 0;
}
