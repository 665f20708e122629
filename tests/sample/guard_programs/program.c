// SPDX-License-Identifier: BSD-3-Clause

/* A misuse, named by the argument, of a block that each function below allocates, frees or uses. */

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE 64

void make(char **p);
void drop(char *p);
void use(char *p);

static volatile char sink;

__attribute__((noinline)) void make(char **p)
{
	*p = malloc(SIZE);
}

__attribute__((noinline)) void drop(char *p)
{
	free(p);
	sink = 1; /* so this is no jump */
}

__attribute__((noinline)) void use(char *p)
{
	sink = *(volatile char *)p; // NOLINT(clang-analyzer-core.uninitialized.Assign)
}

static void on_signal(int number)
{
	(void)number;
	_exit(7);
}

static const char *way = "";

static bool is(const char *name)
{
	return strcmp(way, name) == 0;
}

int main(int argc, char **argv)
{
	char *p = NULL;

	way = argc > 1 ? argv[1] : "";
	make(&p);
	if (is("handled"))
		signal(SIGSEGV, on_signal);
	if (is("closed"))
		close(STDERR_FILENO);
	if (is("overflow"))
		use(p + SIZE);
	if (is("underflow"))
		use(p - 1);
	drop(p);
	if (is("double"))
		drop(p);
	if (!is("right"))
		use(p);
	return 0;
}
