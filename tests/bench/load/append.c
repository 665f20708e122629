// SPDX-License-Identifier: BSD-3-Clause

/*
 * Buffers that grow by realloc.
 *
 *	append [BYTES [THREADS [strings|vectors|log|words|arrays]]]
 *
 * strings: many strings side by side get a few bytes at a time, as in parsers and templates.
 * vectors: arrays that grow by half when they are full, to 4 MiB. log: one buffer that grows by
 * 4 KiB at a time to 4 MiB, as when a file or a socket is read to its end. words: one array that
 * grows by 8 bytes at a time to 64 MiB. arrays: arrays that grow in turn, by a quarter or 512
 * bytes, to 200 KiB, as the columns of a table do; prints memory in use over live bytes in the end,
 * in percent.
 */

#include "load.h"
#include "resident.h"

#define STRINGS 500
#define LONGEST_STRING 2000
#define LONGEST_ARRAY ((size_t)200 << 10)
#define MIB ((size_t)1 << 20)
#define MOST_WORDS (64 * MIB)

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

static void append_words(uint64_t *seed)
{
	size_t length = bytes < MOST_WORDS ? bytes : MOST_WORDS;

	(void)seed;
	for (size_t done = 0; done < bytes; done += length) {
		uint64_t *words = NULL;

		for (size_t i = 0; i < length / sizeof(*words); i++) {
			words = load_checked(realloc(words, (i + 1) * sizeof(*words)));
			words[i] = i;
		}
		free(words);
	}
}

/* What an array of that length grows to. */
static size_t next_length(size_t length)
{
	size_t more = length / 4;

	more = more < 16 ? 16 : more > 512 ? 512 : more;
	return length + more < LONGEST_ARRAY ? length + more : LONGEST_ARRAY;
}

static void append_arrays(uint64_t *seed)
{
	size_t count = bytes / LONGEST_ARRAY, base = resident_kib();
	unsigned char **arrays = load_checked(calloc(count, sizeof(*arrays)));
	size_t length = 0;

	(void)seed;
	while (length < LONGEST_ARRAY) {
		size_t next = next_length(length);

		for (size_t i = 0; i < count; i++)
			arrays[i] = grow(arrays[i], length, next);
		length = next;
	}
	printf("%.1f\n",
	       100.0 * 1024 * (double)(resident_kib() - base) / (double)(count * LONGEST_ARRAY));
	for (size_t i = 0; i < count; i++)
		free(arrays[i]);
	free(arrays);
}

static void (*kind_of(const char *name))(uint64_t *seed)
{
	static const struct {
		const char *name;
		void (*append)(uint64_t *seed);
	} kinds[] = {
		{"strings", append_strings}, {"vectors", append_vectors}, {"log", append_log},
		{"words", append_words},     {"arrays", append_arrays},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strcmp(name, kinds[i].name) == 0)
			return kinds[i].append;
	exit(2);
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);

	append(&seed);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	bytes = load_argument(argc, argv, 1, 200 * MIB) / threads;
	append = kind_of(argc > 3 ? argv[3] : "strings");
	load_threads(threads, work);
	return 0;
}
