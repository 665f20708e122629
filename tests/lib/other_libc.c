// SPDX-License-Identifier: BSD-3-Clause

#include "other_libc.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The tests of the course's rules need a break that moves. block/no_break.c tests the other one. */

void *moving_sbrk(intptr_t size)
{
	static char *now;
	char *before;

	if (!now)
		now = (char *)syscall(SYS_brk, 0);
	before = now;
	if (size && (char *)syscall(SYS_brk, now + size) != now + size) {
		errno = ENOMEM;
		return (void *)-1;
	}
	now += size;
	return before;
}

extern __typeof__(moving_sbrk) sbrk __attribute__((weak, alias("moving_sbrk")));
