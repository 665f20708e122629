// SPDX-License-Identifier: BSD-3-Clause

/* A misuse, named by the argument, of a block that each function below allocates, frees or uses. */

#include <signal.h>
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
	sink = *(volatile char *)p;
}

static void on_signal(int number)
{
	(void)number;
	_exit(7);
}

int main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "";
	char *p;

	make(&p);
	if (!strcmp(way, "handled"))
		signal(SIGSEGV, on_signal);
	if (!strcmp(way, "closed"))
		close(STDERR_FILENO);
	if (!strcmp(way, "overflow"))
		use(p + SIZE);
	if (!strcmp(way, "underflow"))
		use(p - 1);
	drop(p);
	if (!strcmp(way, "double"))
		drop(p);
	if (strcmp(way, "right"))
		use(p);
	return 0;
}
