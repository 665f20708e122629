// SPDX-License-Identifier: BSD-3-Clause

#include "compare.h"

#include "block_meta.h"
#include "harness.h"
#include "osmem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define META sizeof(struct block_meta)

struct outcome *outcome;
static bool is_in_child; /* that a difference may end */

static void differ(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void differ(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(outcome->why, sizeof(outcome->why), fmt, ap);
	va_end(ap);
	if (is_in_child)
		_exit(1);
	fprintf(stderr, "call %zu: %s\n", outcome->calls, outcome->why);
	abort();
}

uint64_t random64(struct run *run)
{
	uint64_t z = run->random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

size_t below(struct run *run, size_t limit)
{
	return (size_t)(random64(run) % limit);
}

bool is_chance(struct run *run, int percent)
{
	return (int)below(run, 100) < percent;
}

/* Contents: a word every 8 bytes at both ends of a payload, and some in between. */

#define DENSE ((size_t)64)

static size_t next_word(size_t at, size_t size)
{
	size_t next = at + 8;

	if (next < DENSE || next + DENSE >= size)
		return next;
	next = (at / 1024 + 1) * (size > 16384 ? 16384 : 1024);
	return next + DENSE < size ? next : size - DENSE;
}

static uint64_t word_of(uint64_t cookie, size_t at)
{
	return (cookie + at) * 0x9e3779b97f4a7c15;
}

static void write_cookie(struct slot *s)
{
	for (size_t at = 0; at < s->b->size; at = next_word(at, s->b->size))
		*(uint64_t *)(void *)(s->p + at) = word_of(s->cookie, at);
}

/* Is what was written to a payload of size bytes still in the first keep bytes at p? */
static void check_cookie(const char *p, uint64_t cookie, size_t size, size_t keep)
{
	for (size_t at = 0; at < size && at + 8 <= keep; at = next_word(at, size)) {
		uint64_t word;

		memcpy(&word, p + at, sizeof(word));
		if (word != word_of(cookie, at))
			differ("byte %zu of a payload of %zu has changed", at, size);
	}
}

/*
 * Of a mapping, which the kernel has zeroed, the places that are written to: every page would be a
 * page fault, and most of what a run costs.
 */
static void check_zero(const char *p, size_t size)
{
	bool is_mapped = size > 16384;

	for (size_t at = 0; at < size; at = is_mapped ? next_word(at, size) : at + 1)
		if (p[at])
			differ("byte %zu of %zu is not zero", at, size);
}

/* Headers. */

static struct block_meta *place_of(struct run *run, const struct naive_block *b)
{
	return b ? (struct block_meta *)(void *)(run->base + b->offset) : NULL;
}

static void check_header(struct run *run, const struct block_meta *is,
			 const struct naive_block *want)
{
	const char *name = want->status == STATUS_MAPPED ? "a mapped block" : "a heap block";

	if (is->size != want->size)
		differ("%s at %#zx has size %zu, not %zu", name, want->offset, is->size,
		       want->size);
	if (is->status != want->status)
		differ("%s at %#zx has status %d, not %d", name, want->offset, is->status,
		       want->status);
	if (want->status == STATUS_MAPPED)
		return;
	if (is->prev != place_of(run, want->prev) || is->next != place_of(run, want->next))
		differ("the links at %#zx are wrong", want->offset);
}

static void check_list(struct run *run)
{
	for (const struct naive_block *b = run->model.first; b; b = b->next)
		check_header(run, place_of(run, b), b);
}

/* Exact while the heap, before the call, had not passed 1 MiB; never short of what is needed. */
static void check_break(struct run *run, size_t end_before)
{
	size_t is = (size_t)((char *)sbrk(0) - run->base), want = run->model.end;

	if (end_before <= MIB ? is != want : is < want)
		differ("the break is raised by %zu, not %zu", is, want);
}

static bool is_mapping(struct run *run, const char *p)
{
	size_t page = run->model.page_size;

	if (p >= run->base && p < run->base + run->model.end)
		return false;
	return (uintptr_t)p % page == META;
}

static void check_result(struct run *run, char *p, const struct naive_block *want)
{
	if (!want) {
		if (p)
			differ("not NULL");
		return;
	}
	if (!p)
		differ("NULL");
	if (want->status == STATUS_MAPPED && !is_mapping(run, p))
		differ("heap + %#tx, not a mapping", p - run->base);
	if (want->status != STATUS_MAPPED && p != (char *)(place_of(run, want) + 1))
		differ("heap + %#tx, not heap + %#zx", p - run->base, want->offset + META);
	check_header(run, (struct block_meta *)(void *)p - 1, want);
}

/* Calls. */

static void check_slot(const struct slot *s)
{
	if (s->p)
		check_cookie(s->p, s->cookie, s->b->size, s->b->size);
}

/* p, which is b in the model, or NULL, is now what the slot holds. */
static void set_slot(struct run *run, struct slot *s, char *p, struct naive_block *b)
{
	s->p = p;
	s->b = b;
	s->cookie = random64(run);
	if (p)
		write_cookie(s);
}

static void note_want(struct call *call, const struct naive_block *b)
{
	if (b)
		call->want = *b;
	else
		call->want.status = -1;
}

static void do_alloc(struct run *run, struct call *call)
{
	bool is_calloc = call->kind == CALL_CALLOC;
	struct naive_block *b;
	char *p;

	b = is_calloc ? naive_calloc(&run->model, call->nmemb, call->size)
		      : naive_malloc(&run->model, call->size);
	note_want(call, b);
	p = is_calloc ? os_calloc(call->nmemb, call->size) : os_malloc(call->size);
	check_result(run, p, b);
	if (p && is_calloc)
		check_zero(p, call->nmemb * call->size);
	set_slot(run, &run->slots[call->slot], p, b);
}

static void do_realloc(struct run *run, struct call *call)
{
	struct slot *s = &run->slots[call->slot];
	size_t capacity = s->p ? s->b->size : 0;
	struct naive_block *b;
	char *p;

	check_slot(s);
	b = naive_realloc(&run->model, s->b, call->size);
	note_want(call, b);
	p = os_realloc(s->p, call->size);
	check_result(run, p, b);
	check_cookie(p, s->cookie, capacity, call->size);
	set_slot(run, s, p, b);
}

static void do_free(struct run *run, struct call *call)
{
	struct slot *s = &run->slots[call->slot];

	check_slot(s);
	naive_free(&run->model, s->b);
	note_want(call, NULL);
	os_free(s->p);
	s->p = NULL;
	s->b = NULL;
}

/*
 * A free block whose payload has been somebody's and still has its header; NULL if there is none.
 */
static struct naive_block *choose_freed(struct run *run)
{
	size_t seen = 0;
	struct naive_block *chosen = NULL;

	for (struct naive_block *b = run->model.first; b; b = b->next)
		if (b->status == STATUS_FREE && b->was_given && below(run, ++seen) == 0)
			chosen = b;
	return chosen;
}

static void do_realloc_freed(struct run *run, struct call *call)
{
	struct naive_block *b = choose_freed(run);

	if (!b)
		return;
	call->freed_offset = b->offset + META;
	check_header(run, place_of(run, b), b);
	note_want(call, naive_realloc(&run->model, b, call->size));
	if (os_realloc(place_of(run, b) + 1, call->size))
		differ("not NULL");
}

static void do_sbrk(struct run *run, struct call *call)
{
	if (!run->model.first)
		return;
	naive_move_break(&run->model, call->size);
	note_want(call, NULL);
	if (sbrk((intptr_t)call->size) == (void *)-1)
		differ("the break cannot be raised");
}

static void do_call(struct run *run, struct call *call)
{
	static void (*const doers[CALL_KINDS])(struct run *, struct call *) = {
		[CALL_MALLOC] = do_alloc,
		[CALL_CALLOC] = do_alloc,
		[CALL_REALLOC] = do_realloc,
		[CALL_FREE] = do_free,
		[CALL_REALLOC_FREED] = do_realloc_freed,
		[CALL_SBRK] = do_sbrk,
	};
	size_t end_before = run->model.end;

	doers[call->kind](run, call);
	check_break(run, end_before);
}

bool is_occupied(const struct run *run, int slot)
{
	return run->slots[slot].p != NULL;
}

/* Runs. */

static void run_calls(const struct plan *plan)
{
	static struct run run;

	run = (struct run){.plan = plan, .random = plan->seed};
	run.base = sbrk(0);
	naive_init(&run.model, (size_t)sysconf(_SC_PAGESIZE), plan->bug);
	while (outcome->calls < plan->calls) {
		struct call *call = &outcome->log[outcome->calls % LOG_SIZE];

		*call = (struct call){0};
		plan->profile->next(&run, call);
		outcome->calls++;
		do_call(&run, call);
		if (outcome->calls % plan->check_interval == 0)
			check_list(&run);
	}
	check_list(&run);
	for (int i = 0; i < plan->profile->slots; i++)
		check_slot(&run.slots[i]);
	for (int i = 0; i < plan->profile->slots; i++)
		os_free(run.slots[i].p);
}

static void make_outcome(void)
{
	if (!outcome)
		outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(outcome != MAP_FAILED);
	memset(outcome, 0, offsetof(struct outcome, log));
}

unsigned int compare_seconds(size_t calls)
{
	return 50 + (unsigned int)(calls / 2000);
}

void compare_here(const struct plan *plan)
{
	make_outcome();
	run_calls(plan);
}

size_t compare_run(const struct plan *plan)
{
	int status;
	pid_t pid;

	make_outcome();
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		is_in_child = true;
		alarm(compare_seconds(plan->calls) * test_patience());
		run_calls(plan);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (status == 0)
		return 0;
	if (!outcome->why[0])
		snprintf(outcome->why, sizeof(outcome->why), "wait status %#x", status);
	return outcome->calls;
}
