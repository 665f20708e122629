// SPDX-License-Identifier: BSD-3-Clause

/*
 * Allocate what fits into locked memory:
 *
 *	subject FLAGS SIZE [THREADS]
 *
 * mlockall(FLAGS), then blocks of SIZE bytes, in that many threads one after another, until malloc
 * fails. Prints the KiB got by all of them, and the KiB that were locked before. Then it frees all,
 * and must get half of it again.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STACK ((size_t)64 * 1024)
#define BYTES_MAX ((size_t)64 << 20)

static size_t size;
static void **last;

static size_t get(size_t most)
{
	size_t bytes = 0;
	void **p;

	while (bytes < most && (p = malloc(size))) {
		memset(p, 1, size);
		*p = last;
		last = p;
		bytes += size;
	}
	return bytes;
}

static void free_all(void)
{
	while (last) {
		void **p = last;

		last = *p;
		free(p);
	}
}

static void *run(void *bytes)
{
	*(size_t *)bytes += get(BYTES_MAX);
	return NULL;
}

static size_t get_in_thread(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	size_t bytes = 0;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	errno = pthread_create(&thread, &attributes, run, &bytes);
	if (errno) {
		perror("pthread_create");
		exit(EXIT_FAILURE);
	}
	pthread_join(thread, NULL);
	return bytes;
}

/* Without stdio's own buffers, and of this moment. */
static size_t locked_kib(void)
{
	static char text[8192];
	FILE *file = fopen("/proc/self/status", "r");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	const char *at;

	text[n] = '\0';
	at = strstr(text, "VmLck:");
	if (file)
		fclose(file);
	return at ? strtoul(at + strlen("VmLck:"), NULL, 10) : 0;
}

int main(int argc, char **argv)
{
	int threads = argc > 3 ? atoi(argv[3]) : 0;
	size_t bytes = 0, locked;

	size = strtoul(argv[2], NULL, 10);
	if (mlockall(atoi(argv[1])) != 0) {
		perror("mlockall");
		return EXIT_FAILURE;
	}
	locked = locked_kib();
	for (int i = 0; i < threads; i++) {
		bytes += get_in_thread();
		if (i + 1 < threads)
			free_all();
	}
	if (!threads)
		bytes = get(BYTES_MAX);
	free_all();
	if (get(bytes / (size_t)(threads ? 2 * threads : 2)) * 2 <
	    bytes / (size_t)(threads ? threads : 1))
		fprintf(stderr, "what was freed is not found\n");
	printf("%zu %zu\n", bytes >> 10, locked);
	return EXIT_SUCCESS;
}
