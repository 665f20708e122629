// SPDX-License-Identifier: BSD-3-Clause

/*
 * The entries of a profile: a copy of the tables, in which the live samples of a stack and a thread
 * become one entry.
 */

#include <errno.h>

#include "chance.h"
#include "helpers.h"
#include "sample_table.h"
#include "sort.h"

/* Copy all to fresh memory. The first copy only counts; the tables may grow. False with errno. */
static bool copy_all(struct table_copy *copy)
{
	*copy = (struct table_copy){0};
	do {
		if (copy->entries)
			sys_release(copy->entries, copy->room * sizeof(*copy->entries));
		copy->room = copy->count + copy->count / 8 + 1;
		copy->entries = sys_map(copy->room * sizeof(*copy->entries));
		if (!copy->entries)
			return false;
		table_copy(copy);
	} while (copy->count > copy->room);
	return true;
}

static bool is_before(const void *first, const void *second)
{
	const struct sample_entry *a = first, *b = second;

	return a->frames != b->frames ? a->frames < b->frames : a->thread < b->thread;
}

/* Whole objects or bytes. The rest is left to the next entries: rounding each may bias the sum. */
static uint64_t whole(uint64_t x, unsigned int shift, uint64_t *rest)
{
	*rest += x;
	x = *rest >> shift;
	*rest -= x << shift;
	return x;
}

static void make_whole(struct sample_entry *entry, struct sample_entry *rest)
{
	entry->live_objects = whole(entry->live_objects, OBJECTS_SHIFT, &rest->live_objects);
	entry->live_bytes = whole(entry->live_bytes, BYTES_SHIFT, &rest->live_bytes);
	entry->total_objects = whole(entry->total_objects, OBJECTS_SHIFT, &rest->total_objects);
	entry->total_bytes = whole(entry->total_bytes, BYTES_SHIFT, &rest->total_bytes);
}

static void add_live(struct sample_entry *to, const struct sample_entry *entry)
{
	to->live_objects += entry->live_objects;
	to->live_bytes += entry->live_bytes;
}

bool sample_each_stack(void (*visit)(const struct sample_entry *entry, void *arg), void *arg)
{
	struct sample_entry rest = {0};
	struct table_copy copy;
	bool is_copied;

	if (!table_begin()) {
		errno = EDEADLK;
		return false;
	}
	is_copied = copy_all(&copy);
	table_end();
	if (!is_copied)
		return false;
	sort(copy.entries + copy.stacks, copy.count - copy.stacks, sizeof(*copy.entries),
	     is_before);
	for (size_t i = 0; i < copy.count;) {
		struct sample_entry entry = copy.entries[i++];

		while (i > copy.stacks && i < copy.count && !is_before(&entry, &copy.entries[i]))
			add_live(&entry, &copy.entries[i++]);
		make_whole(&entry, &rest);
		visit(&entry, arg);
	}
	sys_release(copy.entries, copy.room * sizeof(*copy.entries));
	return true;
}
