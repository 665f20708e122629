// SPDX-License-Identifier: BSD-3-Clause

/*
 * The tree of call stacks. A node is a function in the context of its callers.
 *
 * 1. Recursion is folded: a sequence of up to PERIOD_MAX functions that follows itself is left out
 *    the second time. So a parser that has called itself 10,000 times has one path.
 * 2. Of a stack that is deeper than DEPTH_MAX then, the middle is left out.
 * 3. A function counts once per stack in its total, however often it is there.
 * 4. The smallest nodes are left out of large trees; one child of their parent has their sum.
 */

#include <stdlib.h>
#include <string.h>

#include "heapview.h"
#include "profile.h"

#define PERIOD_MAX 8
#define DEPTH_MAX 500

/* Names that are no functions. */
enum {
	ALL,
	LEFT_OUT,
	SMALLER,
	FUNCTIONS
};

static size_t hash(size_t a, size_t b)
{
	size_t h = (a * 0x9e3779b97f4a7c15 ^ b) * 0xff51afd7ed558ccd;

	return h ^ h >> 32;
}

static size_t hash_text(const char *text, size_t h)
{
	while (*text)
		h = hash(h, (unsigned char)*text++);
	return h;
}

/*
 * Keep at least twice as many slots as there are entries. Returns whether the table is a new and
 * empty one.
 */
static bool needs_slots(uint32_t **slots, size_t *room, size_t count)
{
	if (2 * (count + 1) < *room)
		return false;
	*room = *room ? 2 * *room : 1024;
	free(*slots);
	*slots = grow(NULL, *room, sizeof(**slots));
	memset(*slots, 0, *room * sizeof(**slots));
	return true;
}

/* ---- Names ---- */

static size_t name_hash(const struct name *n)
{
	return hash_text(n->module, hash_text(n->text, 0));
}

static void put_name(struct tree *t, uint32_t index)
{
	size_t i = name_hash(&t->names[index]);

	while (t->name_slots[i & (t->name_slot_count - 1)])
		i++;
	t->name_slots[i & (t->name_slot_count - 1)] = index;
}

/* The index of that name. Takes text; module must stay. */
static uint32_t name_of(struct tree *t, char *text, const char *module)
{
	struct name new = {.text = text, .module = module};
	size_t i = name_hash(&new);
	uint32_t at;

	for (; (at = t->name_slots[i & (t->name_slot_count - 1)]) != 0; i++) {
		if (strcmp(t->names[at].text, text) == 0 &&
		    strcmp(t->names[at].module, module) == 0) {
			free(text);
			return at;
		}
	}
	if (t->name_count == t->name_room) {
		t->name_room *= 2;
		t->names = grow(t->names, t->name_room, sizeof(*t->names));
	}
	new.brief = shorten(text);
	t->names[t->name_count++] = new;
	if (needs_slots(&t->name_slots, &t->name_slot_count, t->name_count))
		for (uint32_t k = FUNCTIONS; k < t->name_count; k++)
			put_name(t, k);
	else
		put_name(t, (uint32_t)t->name_count - 1);
	return (uint32_t)t->name_count - 1;
}

static char *format_name(const char *module, uint64_t offset)
{
	char *text;

	if (asprintf(&text, "%s%s%#lx", module, *module ? "+" : "", (unsigned long)offset) < 0)
		die("out of memory");
	return text;
}

static const char *module_of(const struct location *l)
{
	const char *slash = l->mapping ? strrchr(l->mapping->file, '/') : NULL;

	return slash ? slash + 1 : l->mapping ? l->mapping->file : "";
}

static uint64_t offset_of(const struct location *l)
{
	return l->address - l->mapping->start + l->mapping->offset;
}

/* The name of a location that states no function. */
static uint32_t resolve(struct tree *t, struct location *l, const char *folder)
{
	const char *module = module_of(l), *found;
	struct mapping *m = l->mapping;
	uint64_t offset;

	if (!m)
		return name_of(t, format_name("", l->address), "");
	offset = offset_of(l);
	if (!m->symbols)
		m->symbols = symbols_open(m->file, m->build_id, folder);
	found = symbols_find(m->symbols, offset);
	return name_of(t, found ? demangle(found) : format_name(module, offset), module);
}

/*
 * The names of all locations: those of location i begin at (*first)[i], the innermost call first.
 */
static uint32_t *name_locations(struct tree *t, struct profile *p, const char *folder,
				size_t **first)
{
	uint32_t *names = grow(NULL, p->line_count + p->location_count + 1, sizeof(*names));
	size_t count = 0;

	*first = grow(NULL, p->location_count + 1, sizeof(**first));
	for (size_t i = 0; i < p->location_count; i++) {
		struct location *l = &p->locations[i];

		(*first)[i] = count;
		for (size_t k = 0; k < l->lines; k++) {
			const char *text = p->functions[p->lines[l->first_line + k]].name;

			names[count++] = name_of(t, demangle(text), module_of(l));
		}
		if (!l->lines)
			names[count++] = resolve(t, l, folder);
	}
	(*first)[p->location_count] = count;
	return names;
}

/* ---- Stacks ---- */

/* Whether the last period frames repeat those before them. */
static bool repeats(const struct tree *t, size_t depth, size_t period)
{
	return depth >= 2 * period &&
	       memcmp(t->frames + depth - period, t->frames + depth - 2 * period,
		      period * sizeof(*t->frames)) == 0;
}

/* Append a frame to the present stack. Returns the new depth. */
static size_t push(struct tree *t, size_t depth, uint32_t name)
{
	if (depth == t->frame_room) {
		t->frame_room = t->frame_room ? 2 * t->frame_room : 256;
		t->frames = grow(t->frames, t->frame_room, sizeof(*t->frames));
		t->folds = grow(t->folds, t->frame_room, sizeof(*t->folds));
	}
	t->frames[depth] = name;
	t->folds[depth++] = 0;
	for (size_t period = 1; period <= PERIOD_MAX; period++) {
		if (!repeats(t, depth, period))
			continue;
		depth -= period;
		t->folds[depth - 1] += t->folds[depth + period - 1] + (uint32_t)period;
		break;
	}
	return depth;
}

/* Leave out the middle of a stack that is too deep. Returns the depth. */
static size_t cut(struct tree *t, size_t depth)
{
	size_t half = DEPTH_MAX / 2;

	if (depth <= DEPTH_MAX)
		return depth;
	t->frames[half] = LEFT_OUT;
	t->folds[half] = (uint32_t)(depth - 2 * half);
	memmove(t->frames + half + 1, t->frames + depth - half, half * sizeof(*t->frames));
	memmove(t->folds + half + 1, t->folds + depth - half, half * sizeof(*t->folds));
	return 2 * half + 1;
}

static void put_node(struct tree *t, uint32_t index)
{
	size_t i = hash(t->nodes[index].parent, t->nodes[index].name);

	while (t->node_slots[i & (t->node_slot_count - 1)])
		i++;
	t->node_slots[i & (t->node_slot_count - 1)] = index;
}

static uint32_t child(struct tree *t, uint32_t parent, uint32_t name)
{
	size_t i = hash(parent, name);
	uint32_t at;

	for (; (at = t->node_slots[i & (t->node_slot_count - 1)]) != 0; i++)
		if (t->nodes[at].parent == parent && t->nodes[at].name == name)
			return at;
	if (t->node_count == UINT32_MAX)
		die("the profile has too many stacks");
	if (t->node_count == t->node_room) {
		t->node_room *= 2;
		t->nodes = grow(t->nodes, t->node_room, sizeof(*t->nodes));
	}
	t->nodes[t->node_count++] = (struct node){.name = name, .parent = parent};
	if (needs_slots(&t->node_slots, &t->node_slot_count, t->node_count))
		for (uint32_t k = 1; k < t->node_count; k++)
			put_node(t, k);
	else
		put_node(t, (uint32_t)t->node_count - 1);
	return (uint32_t)t->node_count - 1;
}

/* Sums end at the largest number. */
static void add(uint64_t to[MEASURES], const uint64_t values[MEASURES])
{
	for (int k = 0; k < MEASURES; k++)
		if (__builtin_add_overflow(to[k], values[k], &to[k]))
			to[k] = UINT64_MAX;
}

static void add_stack(struct tree *t, size_t depth, const uint64_t values[MEASURES], int side)
{
	uint32_t at = 0;

	t->stacks++;
	for (size_t i = 0; i < depth; i++) {
		struct name *name = &t->names[t->frames[i]];

		at = child(t, at, t->frames[i]);
		if (t->nodes[at].folded < t->folds[i])
			t->nodes[at].folded = t->folds[i];
		if (name->seen != t->stacks)
			add(name->total[side], values);
		name->seen = t->stacks;
	}
	add(t->nodes[at].self[side], values);
	if (depth)
		add(t->names[t->frames[depth - 1]].self[side], values);
}

/* ---- The whole ---- */

static char *copy_of(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		die("out of memory");
	return copy;
}

static struct name special(const char *text)
{
	return (struct name){.text = copy_of(text), .brief = copy_of(text), .module = ""};
}

void tree_init(struct tree *t)
{
	*t = (struct tree){.node_room = 1024, .name_room = 1024, .node_count = 1};
	t->nodes = grow(NULL, t->node_room, sizeof(*t->nodes));
	t->nodes[0] = (struct node){0};
	t->names = grow(NULL, t->name_room, sizeof(*t->names));
	needs_slots(&t->node_slots, &t->node_slot_count, 0);
	needs_slots(&t->name_slots, &t->name_slot_count, 0);
	t->names[ALL] = special("all");
	t->names[LEFT_OUT] = special("(frames left out)");
	t->names[SMALLER] = special("(smaller stacks)");
	t->name_count = FUNCTIONS;
}

/* Modules are texts of the profile, which its reader frees. */
static void keep_modules(struct tree *t, size_t first)
{
	for (size_t i = first; i < t->name_count; i++)
		t->names[i].module = copy_of(t->names[i].module);
}

static void add_notes(struct tree *t, const struct profile *p)
{
	for (size_t i = 0; i < p->mapping_count; i++) {
		const struct symbols *s = p->mappings[i].symbols;
		const char *note = s ? symbols_note(s) : NULL;
		size_t k = 0;

		while (note && k < t->note_count && strcmp(t->notes[k], note) != 0)
			k++;
		if (!note || k < t->note_count)
			continue;
		t->notes = grow(t->notes, t->note_count + 1, sizeof(*t->notes));
		t->notes[t->note_count++] = copy_of(note);
	}
}

/* The sample with the most live bytes, or, if nothing lives, with the most bytes; or NULL. */
static const struct sample *largest_of(const struct profile *p)
{
	static const enum measure order[] = {LIVE_BYTES, TOTAL_BYTES};
	const struct sample *found = NULL;

	for (int k = 0; k < 2 && !found; k++)
		for (size_t i = 0; i < p->sample_count; i++)
			if (p->samples[i].values[order[k]] > (found ? found->values[order[k]] : 0))
				found = &p->samples[i];
	return found;
}

/* Names are those of all locations, with those of location i from first[i] on. */
static void keep_largest(struct tree *t, const struct profile *p, const uint32_t *names,
			 const size_t *first)
{
	const struct sample *s = largest_of(p);

	for (size_t i = 0; s && i < s->depth; i++) {
		uint64_t at = p->stack[s->first + i];
		const struct location *l = &p->locations[at];

		for (size_t n = first[at]; n < first[at + 1]; n++) {
			struct call c = {.name = names[n]};

			/* The innermost call of a location is the one at its address. */
			if (l->mapping && l->mapping->symbols && n == first[at]) {
				c.has_address = true;
				c.address = symbols_address(l->mapping->symbols, offset_of(l));
			}
			t->largest = grow(t->largest, t->largest_depth + 1, sizeof(*t->largest));
			t->largest[t->largest_depth++] = c;
		}
	}
	if (s)
		memcpy(t->largest_values[NEW], s->values, sizeof(s->values));
}

void tree_add(struct tree *t, struct profile *p, int side, const char *folder)
{
	size_t *first, first_name = t->name_count;
	uint32_t *names = name_locations(t, p, folder, &first);

	for (size_t i = 0; i < p->sample_count; i++) {
		const struct sample *s = &p->samples[i];
		size_t depth = 0;

		for (size_t k = s->depth; k-- > 0;) {
			uint64_t l = p->stack[s->first + k];

			for (size_t n = first[l + 1]; n-- > first[l];)
				depth = push(t, depth, names[n]);
		}
		add_stack(t, cut(t, depth), s->values, side);
	}
	for (int k = 0; k < MEASURES; k++)
		t->has[k] |= p->has[k];
	t->time_ns[side] = p->time_ns;
	t->duration_ns[side] = p->duration_ns;
	t->period = p->period;
	t->samples[side] = p->sample_count;
	t->is_diff |= side == OLD;
	if (side == NEW)
		keep_largest(t, p, names, first);
	add_notes(t, p);
	keep_modules(t, first_name);
	free(first);
	free(names);
}

/* The largest share that the node has of any sum. */
static double share(const struct tree *t, const struct node *n)
{
	double most = 0;

	for (int side = OLD; side <= NEW; side++) {
		for (int k = 0; k < MEASURES; k++) {
			uint64_t all = t->nodes[0].total[side][k];

			if (all && (double)n->total[side][k] / (double)all > most)
				most = (double)n->total[side][k] / (double)all;
		}
	}
	return most;
}

static int by_share(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x > y ? -1 : x < y;
}

/* At most max nodes have a larger share. */
static double threshold(const struct tree *t, size_t max)
{
	double *shares, found;

	if (t->node_count <= max)
		return -1;
	shares = grow(NULL, t->node_count, sizeof(*shares));
	for (size_t i = 0; i < t->node_count; i++)
		shares[i] = share(t, &t->nodes[i]);
	qsort(shares, t->node_count, sizeof(*shares), by_share);
	found = shares[max];
	free(shares);
	return found;
}

/*
 * Sum up, and link what stays. A node has at most the share of its parent, so no node stays whose
 * parent does not.
 */
void tree_finish(struct tree *t, size_t max)
{
	size_t count = t->node_count;
	double least;

	for (size_t i = count; i-- > 0;) {
		struct node *n = &t->nodes[i];

		for (int side = OLD; side <= NEW; side++) {
			add(n->total[side], n->self[side]);
			if (i)
				add(t->nodes[n->parent].total[side], n->total[side]);
		}
	}
	least = threshold(t, max);
	for (uint32_t i = 1; i < count; i++) {
		uint32_t parent = t->nodes[i].parent, rest;

		if (share(t, &t->nodes[i]) > least) {
			t->nodes[i].next = t->nodes[parent].first;
			t->nodes[parent].first = i;
			continue;
		}
		if (parent && share(t, &t->nodes[parent]) <= least)
			continue;
		rest = child(t, parent, SMALLER);
		for (int side = OLD; side <= NEW; side++) {
			add(t->nodes[rest].self[side], t->nodes[i].total[side]);
			add(t->nodes[rest].total[side], t->nodes[i].total[side]);
		}
	}
	for (uint32_t i = (uint32_t)count; i < t->node_count; i++) {
		t->nodes[i].next = t->nodes[t->nodes[i].parent].first;
		t->nodes[t->nodes[i].parent].first = i;
	}
}

uint32_t tree_next(const struct tree *t, uint32_t node, size_t *depth)
{
	if (t->nodes[node].first) {
		(*depth)++;
		return t->nodes[node].first;
	}
	while (node && !t->nodes[node].next) {
		node = t->nodes[node].parent;
		(*depth)--;
	}
	return node ? t->nodes[node].next : 0;
}

enum measure tree_measure(const struct tree *t)
{
	static const enum measure order[] = {LIVE_BYTES, TOTAL_BYTES, LIVE_OBJECTS, TOTAL_OBJECTS};

	for (int i = 0; i < MEASURES; i++)
		if (t->nodes[0].total[OLD][order[i]] || t->nodes[0].total[NEW][order[i]])
			return order[i];
	return LIVE_BYTES;
}

/* What a row of the table is sorted by. */
struct rank {
	uint64_t first, second;
	uint32_t name;
};

static int by_rank(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	if (x->first != y->first)
		return x->first > y->first ? -1 : 1;
	if (x->second != y->second)
		return x->second > y->second ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static uint64_t weight(const struct tree *t, const uint64_t values[2][MEASURES], enum measure k)
{
	if (!t->is_diff)
		return values[NEW][k];
	return values[NEW][k] > values[OLD][k] ? values[NEW][k] - values[OLD][k]
					       : values[OLD][k] - values[NEW][k];
}

uint32_t *tree_ranking(const struct tree *t, size_t *count)
{
	struct rank *ranks = grow(NULL, t->name_count, sizeof(*ranks));
	uint32_t *names = grow(NULL, t->name_count, sizeof(*names));
	enum measure k = tree_measure(t);

	*count = 0;
	for (uint32_t i = FUNCTIONS; i < t->name_count; i++)
		ranks[(*count)++] = (struct rank){weight(t, t->names[i].self, k),
						  weight(t, t->names[i].total, k), i};
	qsort(ranks, *count, sizeof(*ranks), by_rank);
	for (size_t i = 0; i < *count; i++)
		names[i] = ranks[i].name;
	free(ranks);
	return names;
}

void tree_free(struct tree *t)
{
	for (size_t i = 0; i < t->name_count; i++) {
		free(t->names[i].text);
		free(t->names[i].brief);
		if (i >= FUNCTIONS)
			free((void *)(uintptr_t)t->names[i].module);
	}
	for (size_t i = 0; i < t->note_count; i++)
		free(t->notes[i]);
	free(t->notes);
	free(t->largest);
	free(t->nodes);
	free(t->names);
	free(t->node_slots);
	free(t->name_slots);
	free(t->frames);
	free(t->folds);
}
