// SPDX-License-Identifier: BSD-3-Clause

/*
 * The steps of the player, each with its call.
 *
 * 1. A call of a thread begins with its TRACE_ENTER, or, where its name has none, with the first
 *    step since the last call of the thread. It ends with its TRACE_CALL.
 * 2. free has its record before its steps: they follow it.
 * 3. The player shows the calls of os_*, and those of malloc that change the block list. Others,
 *    and system calls outside of calls, are left out.
 */

#include <stdlib.h>

#include "heapview.h"

/* A thread, and the call that it is in. */
struct actor {
	uint32_t call; /* provisional number, or 0 */
	bool has_ended; /* only steps that free may follow: rule 2 */
};

struct grouping {
	const struct trace *t;
	struct table ids; /* size: index of the actor */
	struct actor *actors;
	uint32_t *calls; /* of each record; 0: none */
	bool *is_shown; /* of each call */
	size_t call_count, call_room;
};

static bool is_course_name(unsigned int what)
{
	return what >= TRACE_OS_MALLOC && what <= TRACE_OS_FREE;
}

static bool is_libc_free(unsigned int what)
{
	return what == TRACE_FREE || what == TRACE_FREE_SIZED || what == TRACE_FREE_ALIGNED_SIZED ||
	       what == TRACE_DELETE;
}

static struct actor *actor_of(struct grouping *g, uint32_t thread)
{
	size_t known = g->ids.count;
	struct entry *e = table_get(&g->ids, (uint64_t)thread + 1);

	if (g->ids.count > known) {
		e->size = known;
		g->actors = grow(g->actors, g->ids.count, sizeof(*g->actors));
		g->actors[known] = (struct actor){0};
	}
	return &g->actors[e->size];
}

static uint32_t new_call(struct grouping *g)
{
	if (g->call_count + 1 >= g->call_room) {
		g->call_room = g->call_room ? 2 * g->call_room : 1024;
		g->is_shown = grow(g->is_shown, g->call_room, sizeof(*g->is_shown));
	}
	g->is_shown[++g->call_count] = false;
	return (uint32_t)g->call_count;
}

/* Rule 2. */
static bool is_step_of_free(const struct trace_record *r)
{
	return r->kind == TRACE_STEP &&
	       (r->what == TRACE_STEP_FREE || r->what == TRACE_STEP_UNMAPPED ||
		r->what == TRACE_STEP_MUNMAP);
}

/* The provisional number of the record's call, or 0. */
static uint32_t find_call(struct grouping *g, const struct trace_record *r)
{
	struct actor *a;
	uint32_t call;

	if (r->kind != TRACE_ENTER && r->kind != TRACE_CALL && r->kind != TRACE_STEP)
		return 0;
	a = actor_of(g, r->thread);
	if (!a->call || r->kind == TRACE_ENTER || (a->has_ended && !is_step_of_free(r)))
		*a = (struct actor){.call = new_call(g)};
	call = a->call;
	if (r->kind == TRACE_STEP ? r->what < TRACE_STEP_BRK : is_course_name(r->what))
		g->is_shown[call] = true;
	if (r->kind == TRACE_CALL && is_libc_free(r->what))
		a->has_ended = true;
	else if (r->kind == TRACE_CALL)
		a->call = 0;
	return call;
}

/* The index of a thread of the player. */
static uint16_t player_thread(struct player *p, struct table *ids, uint32_t thread)
{
	size_t known = ids->count;
	struct entry *e = table_get(ids, (uint64_t)thread + 1);

	if (ids->count > known) {
		e->size = known < PLAYER_THREADS_MAX ? known : PLAYER_THREADS_MAX - 1;
		p->threads[e->size] = thread;
		p->thread_count = e->size + 1;
	}
	return (uint16_t)e->size;
}

/* Take over the records of calls that are shown. Calls are numbered by their first record. */
static void take_steps(struct player *p, const struct grouping *g)
{
	uint32_t *numbers = grow(NULL, g->call_count + 1, sizeof(*numbers));
	struct table ids = {.room = 0};
	size_t room = 0;

	for (size_t i = 0; i <= g->call_count; i++)
		numbers[i] = 0;
	for (size_t i = 0; i < g->t->count; i++) {
		uint32_t *number = &numbers[g->calls[i]];
		bool is_first = !*number;

		if (!g->calls[i] || !g->is_shown[g->calls[i]])
			continue;
		if (is_first)
			*number = (uint32_t)++p->calls;
		if (p->count == room) {
			room = room ? 2 * room : 1024;
			p->steps = grow(p->steps, room, sizeof(*p->steps));
		}
		p->steps[p->count++] =
			(struct step){.record = i,
				      .call = *number,
				      .thread = player_thread(p, &ids, g->t->records[i].thread),
				      .is_first = is_first};
	}
	free(ids.entries);
	free(numbers);
}

void player_init(struct player *p, const struct trace *t)
{
	struct grouping g = {.t = t};

	*p = (struct player){.count = 0};
	g.calls = grow(NULL, t->count + 1, sizeof(*g.calls));
	for (size_t i = 0; i < t->count; i++)
		g.calls[i] = find_call(&g, &t->records[i]);
	take_steps(p, &g);
	free(g.ids.entries);
	free(g.actors);
	free(g.calls);
	free(g.is_shown);
}

void player_free(struct player *p)
{
	free(p->steps);
}
