// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program that carries its own malloc, all of it: blocks from an array, first fit, a lock. Nobody
 * may get memory from anywhere else, the C library and its threads included.
 */

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "osmem.h"

#pragma weak os_malloc
#pragma weak os_free

struct chunk {
	size_t size; /* of the payload */
	size_t is_used;
};

static _Alignas(16) char arena[16 << 20];
static size_t carved;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int is_own(const void *p)
{
	return (const char *)p >= arena && (const char *)p < arena + sizeof(arena);
}

static void die(const char *what)
{
	if (write(STDOUT_FILENO, what, strlen(what)) < 0 || write(STDOUT_FILENO, "\n", 1) < 0)
		abort();
	_exit(1);
}

static void *take(size_t size)
{
	size = size ? (size + 15) & ~(size_t)15 : 16;
	for (size_t at = 0; at < carved;) {
		struct chunk *c = (struct chunk *)(void *)(arena + at);

		if (!c->is_used && c->size >= size && c->size <= 4 * size) {
			c->is_used = 1;
			return c + 1;
		}
		at += sizeof(*c) + c->size;
	}
	if (size > sizeof(arena) - carved - sizeof(struct chunk))
		return NULL;
	*(struct chunk *)(void *)(arena + carved) = (struct chunk){.size = size, .is_used = 1};
	carved += sizeof(struct chunk) + size;
	return arena + carved - size;
}

void *malloc(size_t size)
{
	void *p;

	pthread_mutex_lock(&lock);
	p = size < sizeof(arena) ? take(size) : NULL;
	pthread_mutex_unlock(&lock);
	if (!p)
		errno = ENOMEM;
	return p;
}

void free(void *p)
{
	if (!p)
		return;
	if (!is_own(p))
		die("free of a block that is not this program's");
	pthread_mutex_lock(&lock);
	((struct chunk *)p - 1)->is_used = 0;
	pthread_mutex_unlock(&lock);
}

void *calloc(size_t nmemb, size_t size)
{
	void *p = malloc(nmemb * size);

	return p ? memset(p, 0, nmemb * size) : NULL;
}

void *realloc(void *p, size_t size)
{
	void *q = malloc(size);
	size_t old;

	if (!q || !p)
		return q;
	if (!is_own(p))
		die("realloc of a block that is not this program's");
	old = ((struct chunk *)p - 1)->size;
	memcpy(q, p, old < size ? old : size);
	free(p);
	return q;
}

/* Blocks for ever: nobody frees what has no chunk in front. */
static void *take_aligned(size_t align, size_t size)
{
	char *p = malloc(size + align + 2 * sizeof(struct chunk)), *q;

	if (!p)
		return NULL;
	q = (char *)(((uintptr_t)p + sizeof(struct chunk) + align - 1) & ~(uintptr_t)(align - 1));
	*((struct chunk *)(void *)q - 1) = (struct chunk){.size = size, .is_used = 1};
	return q;
}

void *memalign(size_t align, size_t size);

void *memalign(size_t align, size_t size)
{
	return take_aligned(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	return take_aligned(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
	*out = take_aligned(align, size);
	return *out ? 0 : ENOMEM;
}

size_t malloc_usable_size(void *p);

size_t malloc_usable_size(void *p)
{
	return p ? ((struct chunk *)p - 1)->size : 0;
}

/* What libc allocates, by way of all its functions. */
static void use_libc(void)
{
	char *text = strdup("text"), *line = NULL, *printed = NULL;
	size_t size = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	if (!is_own(text) || !f || getline(&line, &size, f) <= 0 || !is_own(line))
		die("libc's memory is not this program's");
	if (asprintf(&printed, "%s %d", text, 1) < 0 || !is_own(printed))
		die("asprintf's memory is not this program's");
	fclose(f);
	free(text);
	free(line);
	free(printed);
}

static void *in_thread(void *arg)
{
	for (int i = 0; i < 50; i++)
		use_libc();
	return arg;
}

int main(void)
{
	pthread_t threads[4];
	int status;
	pid_t pid;

	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, in_thread, NULL))
			die("no thread");
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	pid = fork();
	if (pid == 0) {
		use_libc();
		_exit(7);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
		die("the child did not end well");
	if (os_malloc) { /* the library is there, too */
		void *p = os_malloc(100);

		if (!p || is_own(p))
			die("os_malloc does not work");
		os_free(p);
	}
	puts(os_malloc ? "own, beside os_malloc" : "own");
	return 0;
}
