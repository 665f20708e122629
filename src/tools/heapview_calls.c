// SPDX-License-Identifier: BSD-3-Clause

/*
 * Statistics of all calls: live bytes over time, sizes, lifetimes, and what is live at the end. One
 * pass over the records, with a hash table of all addresses.
 */

#include <stdlib.h>

#include "heapview.h"

#define POINTS 800 /* of a curve in the page */
#define BINS 64 /* one per power of two */
#define TOP 20
#define LEFT_MAX 300 /* sizes of what is live at the end */

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

/* States of the entries of addresses. Their time is that of the allocation. */
enum life {
	LIFE_NONE,
	LIFE_LIVE,
	LIFE_ENDING
}; /* LIFE_ENDING: a realloc has started */

struct figures {
	struct table addresses;
	struct table sizes; /* key: size + 1; size: calls; time: bytes */
	uint64_t calls, frees, failed,
		unknown; /* unknown: frees of objects that are older than the trace */
	uint64_t live, peak, live_count;
	uint64_t by_size[BINS], by_life[BINS];
};

static unsigned int bin(uint64_t n)
{
	return n ? 63 - (unsigned int)__builtin_clzll(n) : 0;
}

static void object_end(struct figures *f, struct entry *o, uint64_t now)
{
	f->by_life[bin(now - o->time)]++;
	f->live -= o->size;
	f->live_count--;
	o->state = LIFE_NONE;
}

static void object_begin(struct figures *f, uint64_t ptr, uint64_t size, uint64_t now)
{
	struct entry *o = table_get(&f->addresses, ptr), *s;

	if (o->state)
		object_end(f, o, now);
	o->size = size;
	o->time = now;
	o->state = LIFE_LIVE;
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
	struct entry *o;

	if (!r->a)
		return;
	f->frees++;
	o = table_get(&f->addresses, r->a);
	if (o->state)
		object_end(f, o, r->time);
	else
		f->unknown++;
}

static void count_realloc(struct figures *f, const struct trace_record *r)
{
	struct entry *o = r->a ? table_get(&f->addresses, r->a) : NULL;

	if (o && o->state == LIFE_ENDING) {
		if (r->flags & TRACE_FAILED)
			o->state = LIFE_LIVE;
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
		struct entry *o = table_get(&f->addresses, r->a);

		if (o->state)
			o->state = LIFE_ENDING;
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
	const struct entry *x = a, *y = b;

	return x->time < y->time ? 1 : x->time > y->time ? -1 : x->key < y->key ? -1 : 1;
}

static void write_sizes(FILE *out, struct table *sizes)
{
	if (sizes->room)
		qsort(sizes->entries, sizes->room, sizeof(struct entry), more_bytes);
	fprintf(out, "\"top\":[");
	for (size_t i = 0, n = 0; i < sizes->room && n < TOP; i++) {
		const struct entry *s = &sizes->entries[i];

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

/* Of the figures at record i: the record of what is in it that follows, or NULL. */
static const struct trace_record *rest_of_figures(const struct trace *t, size_t i,
						  unsigned int what)
{
	for (size_t j = i + 1; j < t->count && j < i + 64; j++) {
		const struct trace_record *r = &t->records[j];

		if (r->kind == TRACE_FIGURES && r->what == what &&
		    r->thread == t->records[i].thread)
			return r;
	}
	return NULL;
}

/* [time, live, held, resident] or [time, live, held, resident, cached, free, metadata] */
static void write_moment(FILE *out, const struct trace *t, size_t i)
{
	const struct trace_record *r = &t->records[i];
	const struct trace_record *process = rest_of_figures(t, i, 1);
	const struct trace_record *shares = rest_of_figures(t, i, 2);

	fprintf(out, "[%lu,%lu,%lu,%lu", (unsigned long)r->time, (unsigned long)r->a,
		(unsigned long)r->b, process ? (unsigned long)process->a : 0);
	if (shares)
		fprintf(out, ",%lu,%lu,%lu", (unsigned long)shares->a, (unsigned long)shares->b,
			(unsigned long)shares->c);
	fputc(']', out);
}

static void write_figures(FILE *out, const struct trace *t)
{
	size_t all = 0, n = 0;

	for (size_t i = 0; i < t->count; i++)
		all += is_figures(t, i);
	fprintf(out, "\"figures\":[");
	for (size_t i = 0, k = 0; i < t->count; i++) {
		if (!is_figures(t, i))
			continue;
		k++;
		if ((k - 1) % (all / POINTS + 1) && k != all)
			continue;
		fputs(n++ ? "," : "", out);
		write_moment(out, t, i);
	}
	fprintf(out, "],\n");
}

/* ---- What is live at the end ---- */

static int by_size_and_time(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->size != y->size)
		return x->size < y->size ? -1 : 1;
	return x->time < y->time ? -1 : x->time > y->time;
}

/* A size: its objects are count entries from first on, the oldest first. */
struct left {
	const struct entry *first;
	size_t count;
};

static int by_bytes(const void *a, const void *b)
{
	const struct left *x = a, *y = b;
	uint64_t m = x->first->size * x->count, n = y->first->size * y->count;

	return m < n ? 1 : m > n ? -1 : x->first->size < y->first->size ? 1 : -1;
}

/* Move what is live to the front, in order. Returns its count. */
static size_t sort_live(struct table *addresses)
{
	size_t count = 0;

	for (size_t i = 0; i < addresses->room; i++)
		if (addresses->entries[i].state)
			addresses->entries[count++] = addresses->entries[i];
	if (count)
		qsort(addresses->entries, count, sizeof(struct entry), by_size_and_time);
	return count;
}

/* [size, count, time of the oldest, of the one in the middle, of the youngest] */
static void write_left(FILE *out, const struct figures *f, struct table *addresses)
{
	size_t count = sort_live(addresses), groups = 0;
	struct left *left = grow(NULL, count + 1, sizeof(*left));

	for (size_t i = 0; i < count; i++) {
		const struct entry *e = &addresses->entries[i];

		if (!groups || left[groups - 1].first->size != e->size)
			left[groups++] = (struct left){.first = e};
		left[groups - 1].count++;
	}
	qsort(left, groups, sizeof(*left), by_bytes);
	fprintf(out, "\"left\":[");
	for (size_t i = 0; i < groups && i < LEFT_MAX; i++)
		fprintf(out, "%s[%lu,%zu,%lu,%lu,%lu]", i ? ",\n" : "",
			(unsigned long)left[i].first->size, left[i].count,
			(unsigned long)left[i].first->time,
			(unsigned long)left[i].first[left[i].count / 2].time,
			(unsigned long)left[i].first[left[i].count - 1].time);
	fprintf(out, "],\n\"leftSizes\":%zu,\"liveCount\":%lu,\"liveBytes\":%lu,\n", groups,
		(unsigned long)f->live_count, (unsigned long)f->live);
	free(left);
}

static uint64_t end_of(const struct trace *t)
{
	uint64_t end = t->header->end_time;

	for (size_t i = t->count; !end && i-- > 0;)
		end = t->records[i].time;
	return end;
}

void calls_write(FILE *out, const struct trace *t)
{
	struct figures f = {0};

	write_live(out, t, &f);
	write_figures(out, t);
	write_bins(out, "bySize", f.by_size);
	write_bins(out, "byLife", f.by_life);
	write_sizes(out, &f.sizes);
	write_left(out, &f, &f.addresses);
	fprintf(out, "\"calls\":%lu,\"frees\":%lu,\"failed\":%lu,\"unknown\":%lu,\"peak\":%lu,",
		(unsigned long)f.calls, (unsigned long)f.frees, (unsigned long)f.failed,
		(unsigned long)f.unknown, (unsigned long)f.peak);
	fprintf(out, "\"endTime\":%lu,\n", (unsigned long)end_of(t));
	free(f.addresses.entries);
	free(f.sizes.entries);
}
