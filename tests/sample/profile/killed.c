// SPDX-License-Identifier: BSD-3-Clause

/* Grows to 10 MB in call_grown and is killed: it never exits. */

#include <signal.h>
#include <stdlib.h>

void known_grown(void) __attribute__((noinline));
void call_grown(void) __attribute__((noinline));

static void *(*volatile allocate)(size_t size) = malloc;
static void *volatile kept[100];

void known_grown(void)
{
	for (int i = 0; i < 100; i++)
		kept[i] = allocate(100000);
}

void call_grown(void)
{
	known_grown();
	__asm__ volatile("");
}

int main(void)
{
	call_grown();
	raise(SIGKILL);
}
