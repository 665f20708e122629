// SPDX-License-Identifier: BSD-3-Clause

#include "hardened.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tcache_core.h"

#define TRAILER sizeof(uint64_t)
#define SLACK_BITS 16
#define QUARANTINE_MAX 64 /* cells of a class */
#define QUARANTINE_MIN 4
#define QUARANTINE_BYTES (64 * KIB) /* of a class */
#define NOTHING_SIZE (16 * MIB) /* of addresses for malloc(0) */
#define NOTHING_COUNT (NOTHING_SIZE / CELL_ALIGN)

/* Written by its thread only; rows of classes that it has not freed are never touched. */
struct quarantine {
	uint64_t random;
	_Atomic(uint8_t) count[CLASS_COUNT]; /* Q2 */
	void *cells[CLASS_COUNT][QUARANTINE_MAX]; /* Q1; NULL where there is none */
};

static uint64_t secret;

/* malloc(0): addresses where nothing is, and a bit for each that is out. */
static char *nothing;
static _Atomic(uint64_t) *nothing_bits;
static _Atomic(size_t) nothing_hint; /* the word to look at first */

/* Starting. */

__attribute__((cold)) static bool is_asked_for(void)
{
	const char *at = secure_getenv("OSMEM_OPTIONS"), *name = "hardened";

	for (; at && *at; at += strcspn(at, ","), at += *at == ',')
		if (strncmp(at, name, strlen(name)) == 0 && strcspn(at, ",") == strlen(name))
			return true;
	return false;
}

__attribute__((cold)) bool hardened_start(void)
{
	if (!is_asked_for())
		return false;
	secret = sys_secret() * 0xd6e8feb86659fd93u;
	slab_harden();
	heap_harden();
	nothing = sys_reserve(NOTHING_SIZE);
	nothing_bits = nothing ? sys_map(NOTHING_COUNT / 8) : NULL;
	if (!nothing_bits)
		nothing = NULL;
	return true;
}

/* Chance. */

static uint64_t scramble(uint64_t x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

/* A number below n, from the thread's own generator. */
static size_t random_below(size_t n)
{
	struct tcache *tc = tcache_own();
	uint64_t x;

	if (!tc || !tc->quarantine)
		return 0;
	x = tc->quarantine->random += 0x9e3779b97f4a7c15u;
	return (size_t)((scramble(x) >> 32) * n >> 32);
}

void hardened_shuffle(void **cells, unsigned int n)
{
	for (unsigned int i = n; i > 1; i--) {
		size_t other = random_below(i);
		void *swap = cells[i - 1];

		cells[i - 1] = cells[other];
		cells[other] = swap;
	}
}

/* Trailers. */

static _Atomic(uint64_t) *trailer_of(void *p, size_t room)
{
	return (_Atomic(uint64_t) *)(void *)((char *)p + room - TRAILER);
}

static uint64_t make_trailer(const void *at, size_t slack)
{
	uint64_t hash = scramble(secret ^ (uintptr_t)at ^ (uint64_t)slack << 48);

	return (hash | 1) << SLACK_BITS | slack; /* never zero */
}

static bool is_trailer(const void *at, uint64_t trailer)
{
	return trailer == make_trailer(at, trailer & (((uint64_t)1 << SLACK_BITS) - 1));
}

static unsigned char pattern_of(uint64_t trailer)
{
	return (unsigned char)(trailer >> 56);
}

/* The room bytes at p are size bytes of the user's now. */
static void *seal(void *p, size_t room, size_t size)
{
	size_t slack = room - TRAILER - size;
	_Atomic(uint64_t) *at = trailer_of(p, room);
	uint64_t trailer = make_trailer(at, slack);

	memset((char *)p + size, pattern_of(trailer), slack);
	atomic_store_explicit(at, trailer, memory_order_relaxed);
	return p;
}

static bool is_filled(const char *p, unsigned char value, size_t n)
{
	return !n || (*(const unsigned char *)p == value && memcmp(p, p + 1, n - 1) == 0);
}

/* The size of the live block at p, after a look at whether anything was written behind it. */
static size_t checked_size(const char *call, void *p, size_t room, uint64_t trailer)
{
	size_t slack = trailer & (((uint64_t)1 << SLACK_BITS) - 1), size;

	if (!is_trailer(trailer_of(p, room), trailer) || slack > room - TRAILER)
		sys_fatal(call, p, "memory behind this block is overwritten");
	size = room - TRAILER - slack;
	if (!is_filled((char *)p + size, pattern_of(trailer), slack))
		sys_fatal(call, p, "memory behind this block of %lu bytes is overwritten",
			  (unsigned long)size);
	return size;
}

/* What is before a cell is the trailer of another one, or zero; but for a segment's first a guard. */
static void check_before(const char *call, const char *p)
{
	const _Atomic(uint64_t) *at = (const _Atomic(uint64_t) *)(const void *)(p - TRAILER);
	uint64_t trailer;

	if ((uintptr_t)p % SEGMENT_SIZE == SLAB_SIZE)
		return;
	trailer = atomic_load_explicit(at, memory_order_relaxed);
	if (trailer && !is_trailer(at, trailer))
		sys_fatal(call, p, "memory before this block is overwritten");
}

/* malloc(0). */

static void *alloc_nothing(void)
{
	size_t words = NOTHING_COUNT / 64, first = nothing_hint;

	for (size_t i = 0; nothing && i < words; i++) {
		size_t word = (first + i) % words;
		uint64_t bits = nothing_bits[word];

		while (~bits) {
			uint64_t bit = ~bits & (bits + 1);

			if (atomic_compare_exchange_weak(&nothing_bits[word], &bits, bits | bit)) {
				nothing_hint = word;
				return nothing +
				       (word * 64 + (size_t)__builtin_ctzll(bit)) * CELL_ALIGN;
			}
		}
	}
	return NULL;
}

static bool is_nothing(const void *p)
{
	return nothing && (uintptr_t)p - (uintptr_t)nothing < NOTHING_SIZE;
}

static size_t nothing_index(const char *call, const void *p)
{
	size_t offset = (uintptr_t)p - (uintptr_t)nothing;

	if (offset % CELL_ALIGN)
		sys_fatal(call, p, "not a block: not aligned to %lu bytes", CELL_ALIGN);
	offset /= CELL_ALIGN;
	if (!(nothing_bits[offset / 64] >> offset % 64 & 1))
		sys_fatal(call, p, "this block is already free");
	return offset;
}

static void free_nothing(const char *call, const void *p)
{
	size_t i = nothing_index(call, p);
	uint64_t bit = (uint64_t)1 << i % 64;

	if (!(atomic_fetch_and(&nothing_bits[i / 64], ~bit) & bit))
		sys_fatal(call, p, "this block is already free");
}

/* Quarantine: rule 2. */

struct quarantine *hardened_new_quarantine(void)
{
	int saved_errno = errno;
	struct quarantine *q = sys_map(sizeof(*q));

	errno = saved_errno;
	if (q)
		q->random = scramble(secret ^ (uintptr_t)q);
	return q;
}

void hardened_drop_quarantine(struct quarantine *q)
{
	if (q)
		sys_release(q, sizeof(*q));
}

static unsigned int quarantine_cells(unsigned int class)
{
	size_t n = QUARANTINE_BYTES / slab_classes[class].size;

	return (unsigned int)(n < QUARANTINE_MIN   ? QUARANTINE_MIN
			      : n > QUARANTINE_MAX ? QUARANTINE_MAX
						   : n);
}

/* cell, which is zero, goes into quarantine, and what leaves it for that is free. */
static void put(unsigned int class, void *cell)
{
	struct tcache *tc = tcache_own();
	void **place, *leaves = cell;

	if (tc && tc->quarantine) {
		place = &tc->quarantine->cells[class][random_below(quarantine_cells(class))];
		leaves = *place;
		*place = cell;
		tc->quarantine->count[class] += !leaves;
	}
	if (leaves)
		tcache_put_cell(class, leaves);
}

bool hardened_flush(struct tcache *tc, unsigned int class)
{
	struct quarantine *q = tc->quarantine;

	if (!hardened_quarantined(tc, class))
		return true;
	if (!slab_enter(class))
		return false;
	for (unsigned int i = 0; i < QUARANTINE_MAX; i++) {
		void *cell = q->cells[class][i];

		if (!cell)
			continue;
		q->cells[class][i] = NULL;
		q->count[class]--;
		slab_give_locked(class, &cell, 1);
	}
	slab_leave(class);
	return true;
}

size_t hardened_quarantined(const struct tcache *tc, unsigned int class)
{
	return tc->quarantine ? tc->quarantine->count[class] : 0;
}

bool hardened_has(const struct tcache *tc, unsigned int class, const void *cell)
{
	for (unsigned int i = 0; hardened_quarantined(tc, class) && i < QUARANTINE_MAX; i++)
		if (tc->quarantine->cells[class][i] == cell)
			return true;
	return false;
}

static const char *check_quarantine(const struct quarantine *q, unsigned int class)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < QUARANTINE_MAX; i++) {
		char *cell = q->cells[class][i];
		struct cell_ref ref = slab_find(cell);

		if (!cell)
			continue;
		count++;
		if (ref.state != CELL_LIVE || ref.class != class ||
		    !is_filled(cell, 0, slab_classes[class].size))
			return "Q1: a cell in quarantine is none, or not zero";
	}
	return count == q->count[class] ? NULL : "Q2: a quarantine's count is wrong";
}

const char *hardened_check(const struct tcache *tc)
{
	const char *fault = NULL;

	for (unsigned int class = 1; tc->quarantine && class < CLASS_COUNT && !fault; class += 1)
		fault = check_quarantine(tc->quarantine, class);
	return fault;
}

/* Cells. */

static void *alloc_cell(unsigned int class, size_t size)
{
	char *cell = tcache_take_cell(class, NULL);

	if (!cell)
		return NULL;
	if (!is_filled(cell, 0, slab_classes[class].size))
		sys_fatal("malloc", cell, "this free block was written to");
	return seal(cell, slab_classes[class].size, size);
}

/* p is in a slab: the trailer of the cell that it is, which is live. */
static uint64_t live_trailer(const char *call, void *p, const struct cell_ref *cell)
{
	uint64_t trailer = 0;

	if (cell->state == CELL_LIVE)
		trailer = *trailer_of(p, slab_classes[cell->class].size);
	if (!trailer)
		tcache_bad_pointer(call, p, cell);
	return trailer;
}

static size_t cell_size(const char *call, void *p, const struct cell_ref *cell)
{
	size_t room = slab_classes[cell->class].size;
	uint64_t trailer = live_trailer(call, p, cell);

	check_before(call, p);
	return checked_size(call, p, room, trailer);
}

static void free_cell(const char *call, void *p, const struct cell_ref *cell)
{
	size_t room = slab_classes[cell->class].size;

	cell_size(call, p, cell);
	/* The last word decides, where two threads free a cell at once, and neighbors read it. */
	if (!atomic_exchange(trailer_of(p, room), 0))
		tcache_bad_pointer(call, p, cell);
	memset(p, 0, room - TRAILER);
	put(cell->class, p);
}

/* Blocks. */

static void *alloc_block(size_t size, size_t align)
{
	size_t room;
	void *p;

	if (size > PTRDIFF_MAX - TRAILER) {
		errno = ENOMEM;
		return NULL;
	}
	room = size + TRAILER;
	p = heap_alloc(room, align, true);
	if (!p && size < PTRDIFF_MAX / 2 && align < PTRDIFF_MAX / 4 && tcache_trim())
		p = heap_alloc(room, align, true);
	return p ? seal(p, heap_usable_size("malloc", p), size) : NULL;
}

static size_t block_size(const char *call, void *p)
{
	size_t room = heap_usable_size(call, p);

	return checked_size(call, p, room, *trailer_of(p, room));
}

/* What goes with what the names promise. */

void *hardened_alloc(size_t size, size_t align)
{
	unsigned int class = size > CELL_MAX ? CLASS_COUNT : tcache_class_of(size + TRAILER, align);
	void *p = size || align > HEAP_ALIGN ? NULL : alloc_nothing();

	if (!p && class < CLASS_COUNT)
		p = alloc_cell(class, size);
	if (!p)
		p = alloc_block(size, align);
	if (!p && class < CLASS_COUNT) /* everything free has gone to the store meanwhile */
		p = alloc_cell(class, size);
	return p;
}

void hardened_free(const char *call, void *p)
{
	struct cell_ref cell;

	if (is_nothing(p)) {
		free_nothing(call, p);
		return;
	}
	cell = slab_find(p);
	if (cell.state != CELL_NONE) {
		free_cell(call, p, &cell);
		return;
	}
	block_size(call, p);
	heap_free(call, p);
}

size_t hardened_usable_size(const char *call, void *p)
{
	struct cell_ref cell;

	if (is_nothing(p)) {
		nothing_index(call, p);
		return 0;
	}
	cell = slab_find(p);
	return cell.state != CELL_NONE ? cell_size(call, p, &cell) : block_size(call, p);
}

/* p has room bytes: whether it may stay where it is with size of them. */
static bool may_stay(size_t room, size_t size)
{
	size_t slack = room - TRAILER - size;

	return size + TRAILER <= room && slack < (size_t)1 << SLACK_BITS && slack <= room / 2;
}

static void *move(const char *call, void *p, size_t old, size_t size)
{
	void *q = hardened_alloc(size, HEAP_ALIGN);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	hardened_free(call, p);
	return q;
}

void *hardened_realloc(const char *call, void *p, size_t size)
{
	size_t old = hardened_usable_size(call, p), room;
	struct cell_ref cell = slab_find(p);
	bool is_block = cell.state == CELL_NONE && !is_nothing(p);
	void *q;

	if (is_nothing(p) || size > PTRDIFF_MAX - TRAILER)
		return move(call, p, old, size);
	room = is_block ? heap_usable_size(call, p) : slab_classes[cell.class].size;
	if (may_stay(room, size))
		return seal(p, room, size);
	if (!is_block || size + TRAILER <= CELL_MAX)
		return move(call, p, old, size);
	q = heap_realloc(call, p, size + TRAILER);
	return q ? seal(q, heap_usable_size(call, q), size) : NULL;
}
