// SPDX-License-Identifier: BSD-3-Clause

/* Marks the blocks that words in memory point to. */

#include "handler.h"
#include "leaks_core.h"
#include "proc.h"
#include "slab/slab.h"

#define MANY_PAGES ((size_t)64) /* a larger block may have pages that were never touched */

/* ---- From a word to a block ---- */

/* The run that contains p, or NULL. */
static const struct leaks_run *find_run(struct leaks_search *s, uintptr_t p)
{
	const struct leaks_run *run = &s->runs[s->recent];
	size_t low = 0, high = s->run_count;

	if (p - run->start < run->end - run->start)
		return run;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (s->runs[middle].start <= p)
			low = middle;
		else
			high = middle;
	}
	run = &s->runs[low];
	if (p - run->start >= run->end - run->start)
		return NULL;
	s->recent = low;
	return run;
}

/* If p points to an unseen block, mark it. A directly leaked one may turn out to be reached. */
static void mark(struct leaks_search *s, uintptr_t p)
{
	const struct leaks_run *run = find_run(s, p);
	struct leaks_block b;
	unsigned char *state;

	if (!run)
		return;
	b.run = (uint32_t)(run - s->runs);
	b.index = (uint32_t)((p - run->start) / run->size);
	state = leaks_state_of(s, b);
	if (*state == BLOCK_UNSEEN)
		s->pending[s->pending_count++] = b;
	if (*state == BLOCK_UNSEEN || (*state == BLOCK_DIRECT && s->mark == BLOCK_INDIRECT))
		*state = s->mark;
}

/* ---- Memory ---- */

static void scan_piece(void *arg)
{
	struct leaks_search *s = arg;
	uintptr_t low = s->runs[0].start, size = s->runs[s->run_count - 1].end - low;
	const uintptr_t *end = (const uintptr_t *)s->piece.end;

	for (const uintptr_t *at = (const uintptr_t *)s->piece.start; at < end; at++)
		if (*at - low < size)
			mark(s, *at);
}

/* A fault skips the rest of a page. */
void leaks_scan(struct leaks_search *s, uintptr_t from, uintptr_t to)
{
	from = (from + WORD - 1) & ~(WORD - 1);
	to &= ~(WORD - 1);
	while (from < to) {
		uintptr_t next = (from | (PAGE_BYTES - 1)) + 1;

		s->piece = (struct leaks_range){from, next < to ? next : to};
		fault_try(scan_piece, s);
		from = s->piece.end;
	}
}

/*
 * Whether the program may have written to a page. Private pages of a file that it has not changed
 * have no pointers to blocks.
 */
static bool is_used(uint64_t entry, bool is_shared)
{
	return entry & (PROC_PAGE_PRESENT | PROC_PAGE_SWAPPED) &&
	       (is_shared || !(entry & PROC_PAGE_FILE));
}

void leaks_scan_pages(struct leaks_search *s, uintptr_t from, uintptr_t to, bool is_shared)
{
	size_t page = sys_page_size();

	while (s->pages >= 0 && from < to) {
		uintptr_t first = from & ~(page - 1);
		size_t wanted = (to - first + page - 1) / page;
		size_t n = proc_read_pages(s->pages, first, s->entries,
					   wanted < ENTRIES ? wanted : ENTRIES);

		if (!n)
			break;
		for (size_t i = 0; i < n; i++, from = first + i * page)
			if (is_used(s->entries[i], is_shared))
				leaks_scan(s, from,
					   first + (i + 1) * page < to ? first + (i + 1) * page
								       : to);
	}
	if (from < to)
		leaks_scan(s, from, to);
}

void leaks_scan_pending(struct leaks_search *s)
{
	while (s->pending_count) {
		struct leaks_block b = s->pending[--s->pending_count];
		uintptr_t start = leaks_block_start(s, b), end = start + s->runs[b.run].size;

		if (end - start > MANY_PAGES * PAGE_BYTES)
			leaks_scan_pages(s, start, end, false);
		else
			leaks_scan(s, start, end);
	}
}

void leaks_mark_leaked(struct leaks_search *s)
{
	s->mark = BLOCK_INDIRECT;
	for (struct leaks_block b = {0}; b.run < s->run_count; b.run++) {
		size_t count = leaks_count_of(&s->runs[b.run]);

		for (b.index = 0; b.index < count; b.index++) {
			unsigned char *state = leaks_state_of(s, b);

			if (*state != BLOCK_UNSEEN)
				continue;
			*state = BLOCK_ORIGIN;
			s->pending[s->pending_count++] = b;
			leaks_scan_pending(s);
			*state = BLOCK_DIRECT;
		}
	}
}
