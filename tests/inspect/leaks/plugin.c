// SPDX-License-Identifier: BSD-3-Clause

/* A library with a thread-local variable that is made for each thread when it is first used. */

static _Thread_local char room[4096];
static _Thread_local void *block;

void **variable(void);

void **variable(void)
{
	room[0] = 1;
	return &block;
}
