// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Mappings of single objects: their table, in every arrangement and copied in the middle of every
 * change, and what is kept of freed ones, for whom, how much and how long.
 */

#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "helpers.h"
#include "large.h"
#include "mapping.h"
#include "mapping_table.h"
#include "span.h"

static uint64_t random_state = 1;

/* The table. What an entry has follows from its payload. */

static struct mapping_table table;

static struct mapping entry_of(uintptr_t payload)
{
	return (struct mapping){.payload = payload,
				.size = payload / 3,
				.start = (char *)payload - 4096,
				.bytes = payload % 1000 * 4096,
				.is_span = payload / 4096 % 2,
				.behind = payload / 4096 % 3};
}

static bool has(const struct mapping_table *t, uintptr_t payload)
{
	const struct mapping *m = mapping_table_find(t, (void *)payload);
	struct mapping want = entry_of(payload);

	if (!m)
		return false;
	CHECK(m->payload == payload && m->size == want.size && m->start == want.start &&
	      m->bytes == want.bytes && m->is_span == want.is_span && m->behind == want.behind);
	return true;
}

static void check(const struct mapping_table *t)
{
	const char *fault = mapping_table_check(t);

	CHECK_MSG(!fault, "%s", fault);
}

static void insert(uintptr_t payload)
{
	struct mapping m = entry_of(payload);

	CHECK(mapping_table_reserve(&table));
	mapping_table_insert(&table, &m);
}

static void drop(uintptr_t payload)
{
	mapping_table_remove(&table, mapping_table_find(&table, (void *)payload));
	table.used--;
}

TEST(the_table_grows)
{
	size_t n = 20000;

	for (uintptr_t i = 1; i <= n; i++) {
		CHECK(!has(&table, i * 4096));
		insert(i * 4096);
		if (i % 97 == 0)
			check(&table);
	}
	check(&table);
	CHECK(table.count == n && table.used == n && table.room->count >= 2 * n);
	CHECK(mapping_table_bytes(&table) < 8 * n * sizeof(struct mapping));
	for (uintptr_t i = 1; i <= n; i++)
		CHECK(has(&table, i * 4096) && !has(&table, i * 4096 + 16));
}

TEST(random_entries)
{
	static bool is_in[1000];
	size_t count = 0, i, walked = 0;

	for (size_t nr = 0; nr < 100000; nr++) {
		i = random_below(&random_state, COUNT_OF(is_in));
		CHECK(has(&table, (i + 1) * 65536) == is_in[i]);
		if (is_in[i])
			drop((i + 1) * 65536);
		else
			insert((i + 1) * 65536);
		count += is_in[i] ? (size_t)-1 : 1;
		is_in[i] = !is_in[i];
		CHECK(table.count == count && table.used == count);
		if (nr % 64 == 0)
			check(&table);
	}
	i = 0;
	while (mapping_table_next(&table, &i))
		walked++;
	CHECK(walked == count);
}

TEST(reserved_entries_have_room)
{
	for (int i = 0; i < 1000; i++)
		CHECK(mapping_table_reserve(&table));
	check(&table);
	for (uintptr_t i = 1; i <= 1000; i++)
		mapping_table_insert(&table, &(struct mapping){.payload = i * 4096});
	CHECK(table.count == 1000 && table.used == 1000);
	check(&table);
}

/* Every arrangement of a few entries around the end of the table. */

#define AROUND 4 /* homes, two before the end and two behind it */
#define ENTRIES 5
#define ARRANGEMENTS 1024 /* AROUND to the power of ENTRIES */

static uintptr_t by_home[AROUND][ENTRIES]; /* payloads */

/* The home of payload: where it is when it is alone. */
static size_t home_of(uintptr_t payload)
{
	size_t home;

	insert(payload);
	home = (size_t)(mapping_table_find(&table, (void *)payload) - table.room->entries);
	drop(payload);
	return home;
}

static void find_payloads(void)
{
	size_t found[AROUND] = {0}, all = 0;

	for (uintptr_t payload = 4096; all < AROUND * ENTRIES; payload += 4096) {
		size_t i = (home_of(payload) + AROUND / 2) % table.room->count;

		if (i >= AROUND || found[i] == ENTRIES)
			continue;
		by_home[i][found[i]++] = payload;
		all++;
	}
}

/* The entries of an arrangement, in the order in which they are inserted. */
static void arrange(unsigned int nr, uintptr_t *payloads)
{
	size_t used[AROUND] = {0};

	for (size_t i = 0; i < ENTRIES; i++, nr /= AROUND) {
		payloads[i] = by_home[nr % AROUND][used[nr % AROUND]++];
		insert(payloads[i]);
	}
}

static void expect_others(const struct mapping_table *t, const uintptr_t *payloads, size_t changed)
{
	check(t);
	for (size_t i = 0; i < ENTRIES; i++)
		CHECK(i == changed || has(t, payloads[i]));
}

TEST(removal_in_every_arrangement)
{
	uintptr_t payloads[ENTRIES];

	find_payloads();
	for (unsigned int nr = 0; nr < ARRANGEMENTS; nr++) {
		arrange(nr, payloads);
		for (size_t gone = 0; gone < ENTRIES; gone++) {
			expect_others(&table, payloads, ENTRIES);
			drop(payloads[gone]);
			expect_others(&table, payloads, gone);
			CHECK(!has(&table, payloads[gone]) && table.count == ENTRIES - 1);
			insert(payloads[gone]);
		}
		for (size_t i = 0; i < ENTRIES; i++)
			drop(payloads[i]);
		CHECK(table.count == 0 && table.bytes == 0);
	}
}

/* A table that a fork has copied: by hand, what a removal may leave. */

static struct mapping_table copy;

static void copy_table(void)
{
	static size_t bytes;

	if (copy.room && bytes != mapping_table_bytes(&table)) {
		munmap(copy.room, bytes);
		copy.room = NULL;
	}
	bytes = mapping_table_bytes(&table);
	if (!copy.room)
		copy.room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0);
	memcpy(copy.room, table.room, bytes);
	copy.count = copy.bytes = 77; /* nobody believes them */
	copy.used = 0;
}

TEST(repair_of_what_was_removed_only)
{
	uintptr_t payloads[ENTRIES];

	find_payloads();
	for (unsigned int nr = 0; nr < ARRANGEMENTS; nr++) {
		arrange(nr, payloads);
		for (size_t gone = 0; gone < ENTRIES; gone++) {
			copy_table();
			mapping_table_find(&copy, (void *)payloads[gone])->payload = 0;
			mapping_table_repair(&copy);
			expect_others(&copy, payloads, gone);
			CHECK(copy.count == ENTRIES - 1 && copy.used == copy.count);
			CHECK(!has(&copy, payloads[gone]));
		}
		for (size_t i = 0; i < ENTRIES; i++)
			drop(payloads[i]);
	}
}

/* One that moves is in two places. */
TEST(repair_of_copies)
{
	uintptr_t payloads[ENTRIES];

	find_payloads();
	for (unsigned int nr = 0; nr < ARRANGEMENTS; nr++) {
		arrange(nr, payloads);
		for (size_t i = 0; i < ENTRIES * ENTRIES; i++) {
			size_t gone = i / ENTRIES, moves = i % ENTRIES;
			struct mapping *hole;

			copy_table();
			hole = mapping_table_find(&copy, (void *)payloads[gone]);
			mapping_copy(hole, &(struct mapping){.payload = 0});
			if (gone != moves)
				*hole = entry_of(payloads[moves]);
			mapping_table_repair(&copy);
			expect_others(&copy, payloads, gone);
			CHECK(copy.count == ENTRIES - 1);
		}
		for (size_t i = 0; i < ENTRIES; i++)
			drop(payloads[i]);
	}
}

#ifdef __x86_64__

/* And copied between any two instructions of a change. */

static uintptr_t arranged[ENTRIES];
static size_t changed, repairs;

static void repair_copy(void)
{
	copy_table();
	mapping_table_repair(&copy);
	expect_others(&copy, arranged, changed);
	CHECK(copy.count == ENTRIES || copy.count == ENTRIES - 1);
	repairs++;
}

/* The signal is a trap behind one instruction of this thread, not one that comes at any time. */
static void (*volatile on_step)(void) = repair_copy;

static void handle_step(int nr)
{
	(void)nr;
	on_step();
}

static inline void steps_begin(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; "
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

static inline void steps_end(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; "
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

TEST(repair_between_instructions_of_any_change)
{
	struct mapping m;

	find_payloads();
	CHECK(signal(SIGTRAP, handle_step) != SIG_ERR);
	for (unsigned int nr = 0; nr < ARRANGEMENTS; nr += 7) {
		arrange(nr, arranged);
		changed = nr % ENTRIES;
		m = entry_of(arranged[changed]);
		steps_begin();
		mapping_table_remove(&table, mapping_table_find(&table, (void *)arranged[changed]));
		mapping_table_insert(&table, &m);
		steps_end();
		for (size_t i = 0; i < ENTRIES; i++)
			drop(arranged[i]);
	}
	CHECK_MSG(repairs > 10000, "%zu repairs", repairs);
}

#endif

/* What is kept. */

static void check_mappings(void)
{
	const char *fault = mapping_check();

	CHECK_MSG(!fault, "%s", fault);
}

static char *take(size_t size)
{
	char *p = mapping_alloc(size, size, CELL_ALIGN, false);

	CHECK(p && mapping_has(p) && mapping_usable_size("test", p) >= size);
	p[0] = p[size - 1] = 1;
	check_mappings();
	return p;
}

static void give(void *p)
{
	mapping_free("test", p);
	check_mappings();
}

static struct mapping_stats stats(void)
{
	struct mapping_stats now;

	mapping_get_stats(&now);
	return now;
}

TEST(kept_by_best_fit)
{
	char *p = take(12 * MIB), *q = take(10 * MIB), *r = take(11 * MIB), *s = take(11 * MIB);
	size_t calls;

	give(p);
	give(q);
	give(r);
	CHECK(mapping_kept_bytes() == 33 * MIB);
	calls = stats().map_calls;
	CHECK(take(10 * MIB + 1) == r);
	CHECK(take(10 * MIB - 5000) == q);
	CHECK(mapping_kept_bytes() == 12 * MIB && stats().unmap_calls == 0);
	CHECK(stats().map_calls - calls <= 2);
	give(s);
}

/* A quarter too large, no more: then it is remapped, if it is from half to twice the size. */
TEST(kept_for_what_is_a_quarter_smaller)
{
	size_t size = 5 * MIB / 4;
	char *p, *q;

	give(take(16 * MIB)); /* so much may be kept */
	malloc_trim(0);
	p = take(size);
	give(p);
	CHECK(take(MIB) == p && mapping_usable_size("test", p) == size);
	give(p);
	q = take(MIB - 4096);
	CHECK(mapping_kept_bytes() == 0 && mapping_usable_size("test", q) == MIB - 4096);
	give(q);
	malloc_trim(0);
	give(take(size));
	q = take(size / 2 - 4096);
	CHECK(mapping_kept_bytes() == size && mapping_usable_size("test", q) == size / 2 - 4096);
	give(q);
	malloc_trim(0);
	p = take(size);
	p[size - 1] = 7;
	give(p);
	q = take(2 * size);
	CHECK(mapping_kept_bytes() == 0 && q[size - 1] == 7 && q[2 * size - 1] == 1);
}

/* Live and kept ones together are no more than were live at one time. */
TEST(no_more_than_was_ever_live)
{
	enum {
		COUNT = 30
	};
	static char *p[COUNT];
	size_t live = 0, peak = 0, most = 0;

	for (size_t nr = 0; nr < 5000; nr++) {
		size_t i = random_below(&random_state, COUNT),
		       size = MIB + random_below(&random_state, 8 * MIB);

		if (p[i]) {
			live -= mapping_usable_size("test", p[i]);
			give(p[i]);
			p[i] = NULL;
		} else {
			p[i] = take(size);
			live += mapping_usable_size("test", p[i]);
		}
		peak = live > peak ? live : peak;
		CHECK(stats().bytes == live && live + mapping_kept_bytes() <= peak);
		CHECK(stats().peak_bytes == peak);
		most = mapping_kept_bytes() > most ? mapping_kept_bytes() : most;
	}
	CHECK(most > 0 && stats().unmap_calls > 0);
}

/* The number of kept ones is bounded, too: the oldest go. */
TEST(kept_ones_are_few)
{
	static char *p[300];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = take(MIB);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		give(p[i]);
	CHECK(mapping_kept_bytes() > 0 && mapping_kept_bytes() <= 64 * MIB);
	CHECK(stats().unmap_calls >= COUNT_OF(p) - 64);
}

TEST(kept_for_a_period)
{
	char *p = take(8 * MIB), *q = take(6 * MIB);

	give(p);
	CHECK(!mapping_sweep(1000) && mapping_kept_bytes() == 8 * MIB);
	usleep(60000);
	give(q);
	CHECK(mapping_kept_bytes() == 14 * MIB);
	CHECK(mapping_sweep(40) && mapping_kept_bytes() == 6 * MIB);
	CHECK(mapping_trim() && mapping_kept_bytes() == 0);
	CHECK(!mapping_trim() && !mapping_sweep(0));
	CHECK(stats().unmap_calls == 2);
	check_mappings();
}

/* calloc wants zeroes: what is kept has none. */
TEST(zeroed_ones_are_new)
{
	char *p = take(4 * MIB), *q;

	memset(p, 1, 4 * MIB);
	give(p);
	q = mapping_alloc(4 * MIB, 4 * MIB, CELL_ALIGN, true);
	CHECK(q && q != p);
	for (size_t i = 0; i < 4 * MIB; i++)
		CHECK(q[i] == 0);
	give(q);
	CHECK(take(4 * MIB - 1));
}

TEST(alignments)
{
	for (size_t align = 16; align <= 256 * MIB; align *= 2) {
		char *p = mapping_alloc(3 * MIB + 1, 3 * MIB + 1, align, false);

		CHECK(p && (uintptr_t)p % align == 0);
		CHECK(stats().bytes == 3 * MIB + 4096); /* what is around it has gone */
		p[0] = p[3 * MIB] = 1;
		give(p);
		malloc_trim(0);
	}
}

/* Resizing. */

static size_t faults(void)
{
	struct sys_usage usage;

	sys_get_usage(&usage);
	return usage.minor_faults;
}

static char *resize(char *p, size_t size)
{
	char *q = mapping_resize("test", p, size);

	CHECK(q && mapping_usable_size("test", q) >= size && mapping_has(q));
	check_mappings();
	return q;
}

TEST(growing_copies_nothing)
{
	size_t size = 8 * MIB, before;
	char *p = take(size), *other;

	for (size_t at = 0; at < size; at += 4096)
		p[at] = (char)(at >> 12);
	before = faults();
	for (int i = 0; i < 5; i++) {
		other = mmap(p + mapping_usable_size("test", p), 4096, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* in its way, perhaps */
		p = resize(p, mapping_usable_size("test", p) * 2);
		munmap(other, 4096);
	}
	CHECK_MSG(faults() - before < 200, "%zu faults", faults() - before);
	for (size_t at = 4096; at < size; at += 4096)
		CHECK(p[at] == (char)(at >> 12));
	CHECK(stats().remap_calls == 5 && stats().count == 1 && stats().map_calls == 1);
	give(p);
}

TEST(growing_in_small_steps_is_seldom)
{
	char *p = malloc(3 * MIB);

	for (size_t size = 3 * MIB; size < 64 * MIB; size += 4096) {
		CHECK(p = realloc(p, size));
		p[size - 1] = 1;
	}
	CHECK_MSG(stats().remap_calls < 60, "%zu calls", stats().remap_calls);
	CHECK(malloc_usable_size(p) <= 64 * MIB / 8 * 9 + 4096);
	free(p);
}

/* What a thread remembers of the mapping that it resized last is of that one, as it is now. */
TEST(staying_is_known_while_nothing_changes)
{
	size_t size = 8 * MIB, room = 9 * MIB;
	char *p = resize(take(size), size + 1), *q;

	CHECK(mapping_usable_size("test", p) >= room && !mapping_stays(p, size + 2));
	CHECK(mapping_keeps("test", p, size + 2) && mapping_stays(p, size + 2));
	CHECK(mapping_stays(p, room) && !mapping_stays(p, mapping_usable_size("test", p) + 1));
	CHECK(!mapping_stays(p, size + 1) && !mapping_stays(p + 16, size + 2));
	CHECK(realloc(p, room) == p);
	p = resize(p, 20 * MIB);
	CHECK(!mapping_stays(p, room)); /* it may have moved */
	CHECK(mapping_keeps("test", p, 20 * MIB) && mapping_stays(p, 20 * MIB));
	give(p);
	q = take(18 * MIB); /* in the same place, and smaller */
	CHECK(!mapping_stays(p, 20 * MIB) && !mapping_stays(q, 20 * MIB));
	give(q);
}

/* Memory follows what shrinks a little, however that is known, and then much. */
TEST(shrinking_is_seen_after_growing_in_place)
{
	char *p = take(10 * MIB);

	for (size_t size = 8 * MIB; size <= 10 * MIB; size += 4096)
		CHECK(realloc(p, size) == p);
	CHECK(p = realloc(p, 7 * MIB));
	CHECK(stats().bytes <= 7 * MIB / 100 * 129);
	give(p);
}

TEST(shrinking_gives_back)
{
	char *p = take(20 * MIB);

	p = resize(p, 5 * MIB);
	CHECK(stats().bytes == 5 * MIB && p[0] == 1);
	CHECK((p = realloc(p, 4 * MIB + 1)) && stats().bytes <= 5 * MIB);
	CHECK(p[0] == 1);
	give(p);
}

TEST(beyond_everything)
{
	char *p = take(4 * MIB);

	CHECK(!mapping_alloc(SIZE_MAX, SIZE_MAX, 16, false));
	CHECK(!mapping_alloc((size_t)1 << 46, (size_t)1 << 46, 16, false));
	CHECK(!mapping_alloc(4096, 4096, (size_t)1 << 62, false));
	CHECK(!mapping_resize("test", p, (size_t)1 << 46));
	CHECK(mapping_has(p) && p[0] == 1 && stats().count == 1);
	check_mappings();
	give(p);
}

/* Pointers. */

static void free_it(void *p)
{
	free(p);
}

static void expect_report(void *p, const char *what, const char *rest)
{
	char want[200];

	snprintf(want, sizeof(want), "osmem: free(%p): %s%s", p, what, rest);
	EXPECT_ABORT(free_it, p, want);
}

TEST(pointers_into_and_past_a_mapping)
{
	char *p = malloc(5 * MIB);
	size_t size = malloc_usable_size(p);
	char rest[100];

	snprintf(rest, sizeof(rest), "%zu bytes at %p", size, (void *)p);
	expect_report(p + 16, "not the start of a block, but inside one of ", rest);
	expect_report(p + 4096, "not the start of a block, but inside one of ", rest);
	expect_report(p + size - 1, "not the start of a block, but inside one of ", rest);
	free(p); /* kept */
	expect_report(p, "this block is already free", "");
	malloc_trim(0);
	expect_report(p, "not a block of this allocator", "");
}
