// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* The table of mappings, in every arrangement, and copied in the middle of every change. */

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"
#include "helpers.h"
#include "large/mapping_table.h"
#include "steps.h"

static uint64_t random_state = 1;

/* The table. The contents of an entry derive from its payload. */

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

/* The home of payload: its place in an empty table. */
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

/* A table that a fork has copied during a removal, made by hand. */

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
	copy.count = copy.bytes = 77; /* they are not trusted */
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

/* An entry that moves is in two places. */
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

/* The table copied between any two instructions of a change. */

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

/* The signal is a trap after one instruction of this thread, so it is not asynchronous. */
static void (*volatile on_step)(void) = repair_copy;

static void handle_step(int nr)
{
	(void)nr;
	on_step();
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
