// SPDX-License-Identifier: BSD-3-Clause

/*
 * The C library's names and the C++ operators, for libFuzzer: an input is a sequence of calls from
 * up to four threads, which take turns. Objects are those of lib/objects.c, full of cookies; single
 * ones in slots, and many alike in a pile, which fill and empty magazines. Four bytes make a call:
 * what, who and on which slot, and a size. Some inputs move the clock, which sweeps go by, or let
 * the kernel refuse.
 *
 * At the end everything is verified, freed, and nothing may be lost. The store keeps a segment and
 * the table of mappings its room, so what an input does depends a little on those before it.
 */

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "cache/tcache.h"
#include "fuzz.h"
#include "harness.h"
#include "large/large.h"
#include "objects.h"
#include "refusals.h"
#include "slab/slab.h"

#define CALL_BYTES 4
#define THREADS 4 /* 0 is the fuzzer's own */
#define SLOTS 64
#define PILE 4096
#define SIZE_BITS 14
#define SIZE_MASK ((1u << SIZE_BITS) - 1)
#define CLOCK_START 1000000

struct call {
	unsigned int kind, arg; /* 3 and 5 bits */
	unsigned int thread, slot;
	unsigned int bits; /* 16 */
};

static struct object slots[SLOTS], pile[PILE];
static bool is_full[SLOTS];
static size_t pile_count;
static uint64_t clock_ms = CLOCK_START, randoms;

/* What is wrong. */

static void die(const char *format, va_list args) __attribute__((noreturn));

static void die(const char *format, va_list args)
{
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	abort();
}

void finding(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	die(format, args);
}

/* lib/refusals.c says so what is lost. */
void test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(args, format);
	die(format, args);
}

/* The clock of the library. */
uint64_t __wrap_sys_now_ms(void);

uint64_t __wrap_sys_now_ms(void)
{
	return clock_ms;
}

/* Calls. */

static size_t size_from(unsigned int bits)
{
	size_t low = bits & SIZE_MASK;

	switch (bits >> SIZE_BITS) {
	case 0:
		return low % 1100;
	case 1:
		return low * 2;
	case 2:
		return low * 16;
	default:
		return low * 64;
	}
}

static void make_or_drop(const struct call *call)
{
	struct object *o = &slots[call->slot];

	if (is_full[call->slot])
		object_drop(o, &randoms);
	is_full[call->slot] = !is_full[call->slot] && object_make(o, call->arg % objects_forms(),
								  size_from(call->bits), &randoms);
}

static void resize(const struct call *call)
{
	size_t size = size_from(call->bits);

	if (!is_full[call->slot])
		return;
	if (call->arg & 1)
		size = slots[call->slot].size + size % 64;
	object_resize(&slots[call->slot], size, &randoms);
}

static void renew(const struct call *call)
{
	if (is_full[call->slot])
		object_renew(&slots[call->slot], &randoms);
}

/* Many alike, small ones. */
static void pile_up(const struct call *call)
{
	size_t size = call->bits % 2048, n = (call->bits >> 11) * 16;

	for (; n > 0 && pile_count < PILE; n--)
		pile_count +=
			object_make(&pile[pile_count], call->arg % objects_forms(), size, &randoms);
}

/* From the top, from the bottom, or anywhere. */
static void take_off(const struct call *call)
{
	size_t n = call->bits % 1024;

	for (size_t i = 0; n > 0 && pile_count > 0; n--, i++) {
		size_t from = pile_count - 1;

		if (call->arg % 4 == 1)
			from = i % pile_count;
		else if (call->arg % 4 == 2)
			from = random_below(&randoms, pile_count);
		object_drop(&pile[from], &randoms);
		pile[from] = pile[--pile_count];
	}
}

static void move_clock(const struct call *call)
{
	clock_ms += call->bits % 700;
}

static void check(void)
{
	const char *fault = block_check();

	if (!fault)
		fault = tcache_check();
	if (fault)
		finding("%s", fault);
}

/* The kernel refuses so many calls, from one of the next on. */
static void plan_refusals(unsigned int bits)
{
	refuse(1 + bits % 16, bits % 16 + bits / 16 % 16);
	objects_may_fail = true;
}

static void do_other(const struct call *call)
{
	switch (call->arg) {
	case 0:
		malloc_trim(0);
		break;
	case 1:
		mallopt(M_PERTURB, (int)(call->bits % 256));
		break;
	case 2:
		mallopt(M_MMAP_THRESHOLD, (int)call->bits * 16);
		break;
	case 3:
		mallopt(M_TRIM_THRESHOLD, (int)call->bits * 16);
		break;
	case 4:
		mallinfo2();
		break;
	case 5:
		if (!objects_may_fail)
			objects_refused(&randoms);
		break;
	case 6:
		plan_refusals(call->bits);
		break;
	case 7:
		refuse_nothing();
		objects_may_fail = false;
		break;
	default:
		check();
	}
}

static void do_call(const struct call *call)
{
	static void (*const doers[])(const struct call *call) = {
		make_or_drop, make_or_drop, resize, renew, pile_up, take_off, move_clock, do_other,
	};

	doers[call->kind](call);
}

/* Threads that take turns: each waits for a call, and its giver for its end. */

struct turn {
	pthread_t thread;
	sem_t given, done;
	const struct call *call; /* NULL: the thread is to end */
	bool is_there;
};

static struct turn turns[THREADS];

/* The fuzzer's alarm interrupts. */
static void wait_for(sem_t *sem)
{
	while (sem_wait(sem))
		;
}

static void *take_turns(void *arg)
{
	struct turn *turn = arg;

	for (;;) {
		wait_for(&turn->given);
		if (!turn->call)
			return NULL;
		do_call(turn->call);
		sem_post(&turn->done);
	}
}

static void start(struct turn *turn)
{
	sem_init(&turn->given, 0, 0);
	sem_init(&turn->done, 0, 0);
	if (pthread_create(&turn->thread, NULL, take_turns, turn))
		finding("no thread");
	turn->is_there = true;
}

static void end(struct turn *turn)
{
	turn->call = NULL;
	sem_post(&turn->given);
	pthread_join(turn->thread, NULL);
	turn->is_there = false;
}

static void give_turn(struct turn *turn, const struct call *call)
{
	if (!turn->is_there)
		start(turn);
	turn->call = call;
	sem_post(&turn->given);
	wait_for(&turn->done);
	if (call->kind == 7 && call->arg == 8)
		end(turn);
}

/* An input. */

static void begin(void)
{
	static bool has_begun;

	randoms = 88172645463325252u;
	if (has_begun)
		return;
	has_begun = true;
	refuse_nothing();
	free(malloc(1)); /* this thread's cache stays */
	note_live();
}

/* mallopt, undone. */
static void reset_options(void)
{
	large_set_threshold(SPAN_MAX + 1);
	tcache_set_trim_threshold(0);
	mallopt(M_PERTURB, 0);
}

static void drop_all(void)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		if (is_full[i])
			object_drop(&slots[i], &randoms);
	memset(is_full, 0, sizeof(is_full));
	while (pile_count)
		object_drop(&pile[--pile_count], &randoms);
	for (int i = 1; i < THREADS; i++)
		if (turns[i].is_there)
			end(&turns[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	begin();
	for (; size >= CALL_BYTES; size -= CALL_BYTES, data += CALL_BYTES) {
		struct call call = {.kind = data[0] % 8,
				    .arg = data[0] / 8,
				    .thread = data[1] / SLOTS,
				    .slot = data[1] % SLOTS,
				    .bits = data[2] | (unsigned int)data[3] << 8};

		if (call.thread)
			give_turn(&turns[call.thread], &call);
		else
			do_call(&call);
	}
	check();
	refuse_nothing();
	objects_may_fail = false;
	drop_all();
	reset_options();
	check_nothing_lost();
	return 0;
}
