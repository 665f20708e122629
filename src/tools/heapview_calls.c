// SPDX-License-Identifier: BSD-3-Clause

/*
 * Statistics of all calls: live bytes over time, sizes, lifetimes. One pass over the records, with
 * a hash table of all addresses.
 */

#include <stdlib.h>

#include "heapview.h"

#define POINTS 800 /* of a curve in the page */
#define BINS 64 /* one per power of two */
#define TOP 20

enum effect {
	EFFECT_NONE,
	EFFECT_ALLOC,
	EFFECT_CALLOC,
	EFFECT_REALLOC,
	EFFECT_FREE
};

static const unsigned char effects[TRACE_NAME_END] = {
	[TRACE_OS_MALLOC] = EFFECT_ALLOC,
	[TRACE_OS_CALLOC] = EFFECT_CALLOC,
	[TRACE_OS_REALLOC] = EFFECT_REALLOC,
	[TRACE_OS_FREE] = EFFECT_FREE,
	[TRACE_MALLOC] = EFFECT_ALLOC,
	[TRACE_CALLOC] = EFFECT_CALLOC,
	[TRACE_REALLOC] = EFFECT_REALLOC,
	[TRACE_REALLOCARRAY] = EFFECT_REALLOC,
	[TRACE_FREE] = EFFECT_FREE,
	[TRACE_FREE_SIZED] = EFFECT_FREE,
	[TRACE_FREE_ALIGNED_SIZED] = EFFECT_FREE,
	[TRACE_ALIGNED_ALLOC] = EFFECT_ALLOC,
	[TRACE_MEMALIGN] = EFFECT_ALLOC,
	[TRACE_POSIX_MEMALIGN] = EFFECT_ALLOC,
	[TRACE_VALLOC] = EFFECT_ALLOC,
	[TRACE_PVALLOC] = EFFECT_ALLOC,
	[TRACE_NEW] = EFFECT_ALLOC,
	[TRACE_DELETE] = EFFECT_FREE,
};

enum life {
	LIFE_NONE,
	LIFE_LIVE,
	LIFE_ENDING
}; /* LIFE_ENDING: a realloc has started */

struct object {
	uint64_t key; /* an address, or a size + 1; 0: no entry */
	uint64_t size, time; /* for a size: its calls and bytes */
	enum life life;
};

/* Open addressing, at most half full. Entries are never removed. */
struct table {
	struct object *objects;
	size_t room, count; /* room: a power of two, or 0 */
};

struct figures {
	struct table addresses, sizes;
	uint64_t calls, frees, failed,
		unknown; /* unknown: frees of objects that are older than the trace */
	uint64_t live, peak, live_count;
	uint64_t by_size[BINS], by_life[BINS];
};

static struct object *table_place(const struct table *t, uint64_t key)
{
	size_t i = (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) & (t->room - 1);

	while (t->objects[i].key && t->objects[i].key != key)
		i = (i + 1) & (t->room - 1);
	return &t->objects[i];
}

static void table_double(struct table *t)
{
	struct table larger = {.room = t->room ? 2 * t->room : 1024, .count = t->count};

	larger.objects = grow(NULL, larger.room, sizeof(struct object));
	for (size_t i = 0; i < larger.room; i++)
		larger.objects[i] = (struct object){0};
	for (size_t i = 0; i < t->room; i++)
		if (t->objects[i].key)
			*table_place(&larger, t->objects[i].key) = t->objects[i];
	free(t->objects);
	*t = larger;
}

/* Find or create the entry of key. */
static struct object *table_get(struct table *t, uint64_t key)
{
	struct object *o;

	if (2 * t->count >= t->room)
		table_double(t);
	o = table_place(t, key);
	if (!o->key) {
		o->key = key;
		t->count++;
	}
	return o;
}

static unsigned int bin(uint64_t n)
{
	return n ? 63 - (unsigned int)__builtin_clzll(n) : 0;
}

static void object_end(struct figures *f, struct object *o, uint64_t now)
{
	f->by_life[bin(now - o->time)]++;
	f->live -= o->size;
	f->live_count--;
	o->life = LIFE_NONE;
}

static void object_begin(struct figures *f, uint64_t ptr, uint64_t size, uint64_t now)
{
	struct object *o = table_get(&f->addresses, ptr), *s;

	if (o->life)
		object_end(f, o, now);
	o->size = size;
	o->time = now;
	o->life = LIFE_LIVE;
	f->by_size[bin(size)]++;
	f->live += size;
	f->live_count++;
	if (f->live > f->peak)
		f->peak = f->live;
	s = table_get(&f->sizes, size + 1); /* 0 is not a valid key */
	s->time += size;
	s->size++;
}

static void count_free(struct figures *f, const struct trace_record *r)
{
	struct object *o;

	if (!r->a)
		return;
	f->frees++;
	o = table_get(&f->addresses, r->a);
	if (o->life)
		object_end(f, o, r->time);
	else
		f->unknown++;
}

static void count_realloc(struct figures *f, const struct trace_record *r)
{
	struct object *o = r->a ? table_get(&f->addresses, r->a) : NULL;

	if (o && o->life == LIFE_ENDING) {
		if (r->flags & TRACE_FAILED)
			o->life = LIFE_LIVE;
		else
			object_end(f, o, r->time);
	}
	if (r->c)
		object_begin(f, r->c, r->b, r->time);
}

static void count(struct figures *f, const struct trace_record *r)
{
	enum effect effect = r->what < TRACE_NAME_END ? effects[r->what] : EFFECT_NONE;

	if (r->kind == TRACE_ENTER && effect == EFFECT_REALLOC && r->a) {
		struct object *o = table_get(&f->addresses, r->a);

		if (o->life)
			o->life = LIFE_ENDING;
	}
	if (r->kind != TRACE_CALL || effect == EFFECT_NONE)
		return;
	f->calls++;
	f->failed += r->flags & TRACE_FAILED;
	if (effect == EFFECT_FREE)
		count_free(f, r);
	else if (effect == EFFECT_REALLOC)
		count_realloc(f, r);
	else if (r->c)
		object_begin(f, r->c, effect == EFFECT_CALLOC ? r->a * r->b : r->b, r->time);
}

static void write_bins(FILE *out, const char *name, const uint64_t *bins)
{
	fprintf(out, "\"%s\":[", name);
	for (int i = 0; i < BINS; i++)
		fprintf(out, "%s%lu", i ? "," : "", (unsigned long)bins[i]);
	fprintf(out, "],\n");
}

static int more_bytes(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return x->time < y->time ? 1 : x->time > y->time ? -1 : x->key < y->key ? -1 : 1;
}

static void write_sizes(FILE *out, struct table *sizes)
{
	if (sizes->room)
		qsort(sizes->objects, sizes->room, sizeof(struct object), more_bytes);
	fprintf(out, "\"top\":[");
	for (size_t i = 0, n = 0; i < sizes->room && n < TOP; i++) {
		const struct object *s = &sizes->objects[i];

		if (s->key)
			fprintf(out, "%s[%lu,%lu,%lu]", n++ ? "," : "", (unsigned long)(s->key - 1),
				(unsigned long)s->size, (unsigned long)s->time);
	}
	fprintf(out, "],\n");
}

/* The curve of requested live bytes, sampled every n calls. */
static void write_live(FILE *out, const struct trace *t, struct figures *f)
{
	size_t step = t->count / POINTS + 1;

	fprintf(out, "\"live\":[");
	for (size_t i = 0; i < t->count; i++) {
		count(f, &t->records[i]);
		if (i % step == 0 || i + 1 == t->count)
			fprintf(out, "%s[%lu,%lu]", i ? "," : "", (unsigned long)t->records[i].time,
				(unsigned long)f->live);
	}
	fprintf(out, "],\n");
}

static bool is_figures(const struct trace *t, size_t i)
{
	return i + 1 < t->count && t->records[i].kind == TRACE_FIGURES && !t->records[i].what;
}

/* time, live, held, dirty, resident. resident is in the next record, which may be missing. */
static void write_figures(FILE *out, const struct trace *t)
{
	size_t all = 0, n = 0;

	for (size_t i = 0; i < t->count; i++)
		all += is_figures(t, i);
	fprintf(out, "\"figures\":[");
	for (size_t i = 0, k = 0; i < t->count; i++) {
		const struct trace_record *r = &t->records[i];
		size_t j = i + 1;

		if (!is_figures(t, i))
			continue;
		k++;
		if ((k - 1) % (all / POINTS + 1) && k != all)
			continue;
		while (j < t->count && j < i + 64 &&
		       !(t->records[j].kind == TRACE_FIGURES && t->records[j].what == 1))
			j++;
		fprintf(out, "%s[%lu,%lu,%lu,%lu,%lu]", n++ ? "," : "", (unsigned long)r->time,
			(unsigned long)r->a, (unsigned long)r->b, (unsigned long)r->c,
			j < t->count && t->records[j].kind == TRACE_FIGURES
				? (unsigned long)t->records[j].a
				: 0);
	}
	fprintf(out, "],\n");
}

void calls_write(FILE *out, const struct trace *t)
{
	struct figures f = {0};

	write_live(out, t, &f);
	write_figures(out, t);
	write_bins(out, "bySize", f.by_size);
	write_bins(out, "byLife", f.by_life);
	write_sizes(out, &f.sizes);
	fprintf(out, "\"calls\":%lu,\"frees\":%lu,\"failed\":%lu,\"unknown\":%lu,\"peak\":%lu,",
		(unsigned long)f.calls, (unsigned long)f.frees, (unsigned long)f.failed,
		(unsigned long)f.unknown, (unsigned long)f.peak);
	fprintf(out, "\"liveCount\":%lu,\n", (unsigned long)f.live_count);
	free(f.addresses.objects);
	free(f.sizes.objects);
}
