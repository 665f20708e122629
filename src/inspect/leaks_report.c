// SPDX-License-Identifier: BSD-3-Clause

/*
 * The report of a search for leaks: a line for all, then one for each group. Sampled blocks with
 * the same stack are a group, whose stack follows; all others are grouped by size and heap. Groups
 * of direct leaks come first, and those with more bytes.
 */

#include "cache/tcache.h"
#include "handler.h"
#include "hash.h"
#include "helpers.h"
#include "leaks_core.h"
#include "sample/sample.h"
#include "sample/stack.h"
#include "text.h"

#define SHOWN_MAX 20 /* groups */
#define GROUPS_MIN ((size_t)64) /* powers of two */
#define GROUPS_MAX ((size_t)1 << 16) /* leaks of further groups count as others */

struct group {
	const uintptr_t *frames; /* of its stack, or NULL */
	unsigned int depth; /* their number */
	size_t size; /* of a block; 0 with a stack */
	size_t count, bytes; /* count 0: no group */
	bool is_course; /* of os_malloc */
	bool is_indirect;
	bool is_shown;
};

/* In memory of its own. */
struct leaks_report {
	size_t room, used; /* of groups */
	struct group direct, indirect, others; /* sums */
	size_t running; /* threads that did not stop */
	bool has_others; /* leaks without a stack */
	struct group groups[]; /* a hash table */
};

/* ---- Groups ---- */

static void add_to(struct group *g, size_t size)
{
	g->count++;
	g->bytes += size;
}

static bool is_same(const struct group *a, const struct group *b)
{
	return a->frames == b->frames && a->size == b->size && a->is_course == b->is_course &&
	       a->is_indirect == b->is_indirect;
}

/* The group of g, which may be new. That of the others if the table is full. */
static struct group *find_group(struct leaks_report *r, const struct group *g)
{
	size_t key =
		((uintptr_t)g->frames ^ g->size) << 2 | (size_t)g->is_course << 1 | g->is_indirect;
	size_t i = hash_full(key) & (r->room - 1);

	for (; r->groups[i].count; i = (i + 1) & (r->room - 1))
		if (is_same(&r->groups[i], g))
			return &r->groups[i];
	if (2 * r->used >= r->room)
		return &r->others;
	r->used++;
	r->groups[i] = *g;
	return &r->groups[i];
}

/* The size of a cell that cannot be read is that of its run. */
struct sized {
	const void *block;
	size_t size;
};

static void read_size(void *arg)
{
	struct sized *b = arg;

	b->size = tcache_live_size(b->block);
}

static void add_leak(struct leaks_search *s, struct leaks_block b)
{
	const struct leaks_run *run = &s->runs[b.run];
	struct sized sized = {(const void *)leaks_block_start(s, b), run->size};
	struct leaks_report *r = s->report;
	struct group g = {.is_course = run->heap == OSMEM_COURSE,
			  .is_indirect = *leaks_state_of(s, b) == BLOCK_INDIRECT};
	struct sample_info sample;

	if (sample_find(sized.block, &sample)) {
		sized.size = sample.size;
		g.frames = sample.depth ? sample.frames : NULL;
		g.depth = sample.depth;
	} else if (run->heap == OSMEM_CELLS) {
		fault_try(read_size, &sized);
	}
	g.size = g.frames ? 0 : sized.size;
	r->has_others |= !g.frames;
	add_to(g.is_indirect ? &r->indirect : &r->direct, sized.size);
	add_to(find_group(r, &g), sized.size);
}

static size_t report_bytes(size_t room)
{
	return sizeof(struct leaks_report) + room * sizeof(struct group);
}

bool leaks_collect(struct leaks_search *s)
{
	size_t leaks = 0, room = GROUPS_MIN;

	for (struct leaks_block b = LEAKS_BEFORE; leaks_next(s, &b);)
		leaks++;
	while (room < 2 * leaks && room < GROUPS_MAX)
		room *= 2;
	s->report = sys_map(report_bytes(room));
	if (!s->report)
		return false;
	s->report->room = room;
	s->report->running = s->stop.running;
	for (struct leaks_block b = LEAKS_BEFORE; leaks_next(s, &b);)
		add_leak(s, b);
	return true;
}

void leaks_drop_report(struct leaks_search *s)
{
	if (s->report)
		sys_release(s->report, report_bytes(s->report->room));
}

/* ---- Text ---- */

/* "1,200 bytes in 3 blocks", or "3 blocks, 1,200 bytes". */
static void add_blocks(struct text *t, const struct group *g)
{
	text_add(t, "%s block%s, %s byte%s", text_grouped(g->count).text, g->count == 1 ? "" : "s",
		 text_grouped(g->bytes).text, g->bytes == 1 ? "" : "s");
}

static void add_bytes(struct text *t, const struct group *g)
{
	text_add(t, "osmem:   %s byte%s in %s block%s", text_grouped(g->bytes).text,
		 g->bytes == 1 ? "" : "s", text_grouped(g->count).text, g->count == 1 ? "" : "s");
}

static void add_group(struct text *t, const struct group *g)
{
	add_bytes(t, g);
	if (!g->frames)
		text_add(t, " of %zu", g->size);
	text_add(t, "%s%s%s\n", g->is_course ? ", of os_malloc" : "",
		 g->is_indirect ? ", indirectly" : "", g->frames ? ", allocated here:" : "");
	if (!g->frames)
		return;
	text_print(t);
	stack_print(g->frames, g->depth);
}

/* The group to show next; NULL: there is none. */
static struct group *next_group(struct leaks_report *r)
{
	struct group *next = NULL;

	for (struct group *g = r->groups; g < r->groups + r->room; g++) {
		if (!g->count || g->is_shown)
			continue;
		if (!next || g->is_indirect < next->is_indirect ||
		    (g->is_indirect == next->is_indirect && g->bytes > next->bytes))
			next = g;
	}
	return next;
}

static void add_groups(struct text *t, struct leaks_report *r)
{
	struct group *g, rest = r->others;
	size_t shown = 0;

	while (shown < SHOWN_MAX && (g = next_group(r))) {
		add_group(t, g);
		g->is_shown = true;
		shown++;
	}
	for (g = r->groups; g < r->groups + r->room; g++)
		if (!g->is_shown) {
			rest.count += g->count;
			rest.bytes += g->bytes;
		}
	if (rest.count) {
		add_bytes(t, &rest);
		text_add(t, " in other groups\n");
	}
}

/* What the reader should know of how this was found. */
static void add_notes(struct text *t, const struct leaks_report *r)
{
	struct sample_stats samples;

	sample_get_stats(&samples);
	if (samples.interval && r->has_others)
		text_add(t, "osmem:   blocks without a stack were not sampled: nearly all are with "
			    "profile_interval=1\n");
	if (r->running)
		text_add(t,
			 "osmem:   %zu thread%s did not stop: blocks that only registers lead to "
			 "count as leaks\n",
			 r->running, r->running == 1 ? "" : "s");
}

bool leaks_print(const struct leaks_search *s)
{
	struct leaks_report *r = s->report;
	struct group all = {.count = r->direct.count + r->indirect.count,
			    .bytes = r->direct.bytes + r->indirect.bytes};
	struct text t = {.flush = text_print};

	if (!all.count)
		return false;
	text_add(&t, "osmem: leaks: process %u: ", (unsigned int)sys_process());
	add_blocks(&t, &all);
	text_add(&t, " in all");
	if (r->indirect.count) {
		text_add(&t, "; directly ");
		add_blocks(&t, &r->direct);
	}
	text_add(&t, "\n");
	add_groups(&t, r);
	add_notes(&t, r);
	text_print(&t);
	return true;
}
