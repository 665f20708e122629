// SPDX-License-Identifier: BSD-3-Clause

#include "hardened.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "large.h"
#include "tcache_core.h"
#include "zero.h"

#define TRAILER sizeof(uint64_t)
#define USER_MIN ((size_t)9) /* less counts as it: the 16 bytes before a trailer are the block's */
#define SLACK_BITS 24
#define SLACK_MAX (((size_t)1 << SLACK_BITS) - 1)

#define PATTERN_MAX ((size_t)64) /* bytes of it: an overflow meets the first */
#define QUARANTINE_MAX 64 /* cells of a class */
#define QUARANTINE_MIN 4
#define QUARANTINE_BYTES (16 * KIB) /* of a class: it is to stay in a core's first cache */
#define SPARES_MAX 16
#define NOTHING_SIZE (16 * MIB) /* of addresses for malloc(0) */
#define NOTHING_COUNT (NOTHING_SIZE / CELL_ALIGN)

/* Written by its thread only; rows of classes that it has not freed are never touched. */
struct quarantine {
	uint64_t random;
	struct quarantine *next; /* of spares */
	_Atomic(uint8_t) count[CLASS_COUNT]; /* Q2 */
	void *cells[CLASS_COUNT][QUARANTINE_MAX]; /* Q1; NULL where there is none */
};

static uint64_t secret, factor; /* of trailers; factor is odd */
static uint8_t quarantine_sizes[CLASS_COUNT]; /* in cells */

/* Quarantines of threads that are gone, empty. Guarded by the list of caches. */
static struct quarantine *spares;
static unsigned int spare_count;

/* malloc(0): addresses where nothing is, and a bit for each that is out. */
static char *nothing;
static _Atomic(uint64_t) *nothing_bits;
static _Atomic(size_t) nothing_hint; /* the word to look at first */

/* Starting. */

static uint64_t scramble(uint64_t x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static uint8_t quarantine_size(size_t cell)
{
	size_t n = QUARANTINE_BYTES / cell;

	return (uint8_t)(n < QUARANTINE_MIN   ? QUARANTINE_MIN
			 : n > QUARANTINE_MAX ? QUARANTINE_MAX
					      : n);
}

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
	factor = scramble(secret) | 1;
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		quarantine_sizes[class] = quarantine_size(slab_classes[class].size);
	slab_harden();
	large_harden();
	nothing = sys_reserve(NULL, NOTHING_SIZE);
	nothing_bits = nothing ? sys_map(NOTHING_COUNT / 8) : NULL;
	if (!nothing_bits)
		nothing = NULL;
	return true;
}

/* Chance. */

/* A number below n, which is below 2^32. */
static size_t random_below(struct quarantine *q, size_t n)
{
	q->random = q->random * 6364136223846793005u + 1442695040888963407u;
	return (size_t)((q->random >> 32) * n >> 32);
}

void hardened_shuffle(struct tcache *tc, void **cells, unsigned int n)
{
	for (unsigned int i = n; tc->quarantine && i > 1; i--) {
		size_t other = random_below(tc->quarantine, i);
		void *swap = cells[i - 1];

		cells[i - 1] = cells[other];
		cells[other] = swap;
	}
}

/* Trailers. */

static inline size_t room_for(size_t size)
{
	return (size < USER_MIN ? USER_MIN : size) + TRAILER;
}

static _Atomic(uint64_t) *trailer_of(void *p, size_t room)
{
	return (_Atomic(uint64_t) *)(void *)((char *)p + room - TRAILER);
}

/*
 * Whoever has seen some cannot tell what another one is: the upper half of the product is in it.
 * Its first byte (of little-endian machines) is not zero and of no text, so that no text that is
 * too long ends with it.
 */
static uint64_t make_trailer(const void *at, size_t slack)
{
	uint64_t top = (uint64_t)slack << (64 - SLACK_BITS), x = secret ^ (uintptr_t)at ^ top;
	unsigned __int128 product = (unsigned __int128)x * factor;
	uint64_t hash = (uint64_t)(product >> 64) ^ (uint64_t)product;

	return top | hash >> SLACK_BITS | 0x80;
}

static size_t slack_of(uint64_t trailer)
{
	return trailer >> (64 - SLACK_BITS);
}

static bool is_trailer(const void *at, uint64_t trailer)
{
	return trailer == make_trailer(at, slack_of(trailer));
}

/* Of patterns, wherever they are. */
typedef uint64_t lane __attribute__((vector_size(16), aligned(1), may_alias));

static inline lane pattern_of(uint64_t trailer)
{
	uint64_t pattern = (trailer & 0xff) * 0x0101010101010101u;

	return (lane){pattern, pattern};
}

/*
 * The last slack of the 16 bytes before a trailer, as bits; more is all of them. Sizes are mixed,
 * so no branch asks how many there are: there is one for what cells above 1 KiB have only.
 */
static inline lane slack_bits(size_t slack)
{
	static const unsigned char bits[32] = {[16 ... 31] = 0xff};

	return *(const lane *)(const void *)&bits[slack];
}

static inline bool is_all_zero(lane w)
{
	return !(w[0] | w[1]);
}

static inline lane *lane_at(const void *p)
{
	return (lane *)(uintptr_t)p;
}

/* Where the pattern is in more than 16 bytes at p, n of them: these four cover it. */
static inline void pattern_places(const char *p, size_t slack, lane *places[4])
{
	size_t n = slack < PATTERN_MAX ? slack : PATTERN_MAX, last = n - sizeof(lane);

	places[0] = lane_at(p);
	places[1] = lane_at(p + (last < 16 ? last : 16));
	places[2] = lane_at(p + (last < 32 ? last : 32));
	places[3] = lane_at(p + last);
}

/* The room bytes at p are size bytes of the user's now. */
static inline void *seal(void *p, size_t room, size_t size)
{
	size_t slack = room - TRAILER - size;
	_Atomic(uint64_t) *at = trailer_of(p, room);
	uint64_t trailer = make_trailer(at, slack);
	lane pattern = pattern_of(trailer), *last = lane_at(at) - 1, *places[4];

	if (slack <= sizeof(lane)) {
		*last ^= (*last ^ pattern) & slack_bits(slack);
	} else {
		pattern_places((char *)p + size, slack, places);
		*places[0] = *places[1] = *places[2] = *places[3] = pattern;
	}
	atomic_store_explicit(at, trailer, memory_order_relaxed);
	return p;
}

/* Whether nothing was written behind what is the user's of the room bytes at p. */
static inline bool is_intact(const char *p, size_t room, uint64_t trailer)
{
	size_t slack = slack_of(trailer);
	lane pattern = pattern_of(trailer), *places[4];
	const char *end = p + room - TRAILER;

	if (!is_trailer(end, trailer) || slack > room - TRAILER)
		return false;
	if (slack <= sizeof(lane))
		return is_all_zero((lane_at(end)[-1] ^ pattern) & slack_bits(slack));
	pattern_places(end - slack, slack, places);
	return is_all_zero((*places[0] ^ pattern) | (*places[1] ^ pattern) |
			   (*places[2] ^ pattern) | (*places[3] ^ pattern));
}

static __attribute__((noreturn, cold)) void bad_end(const char *call, void *p, size_t room,
						    uint64_t trailer)
{
	size_t slack = slack_of(trailer);

	if (!is_trailer(trailer_of(p, room), trailer) || slack > room - TRAILER)
		sys_fatal(call, p, "memory behind this block is overwritten");
	sys_fatal(call, p, "memory behind this block of %lu bytes is overwritten",
		  (unsigned long)(room - TRAILER - slack));
}

/* The size of the live block at p, after a look at whether anything was written behind it. */
static inline size_t checked_size(const char *call, void *p, size_t room, uint64_t trailer)
{
	if (__builtin_expect(!is_intact(p, room, trailer), 0))
		bad_end(call, p, room, trailer);
	return room - TRAILER - slack_of(trailer);
}

/* What is before a cell is the trailer of another one, or zero. */
static inline void check_before(const char *call, const char *p)
{
	const _Atomic(uint64_t) *at = (const _Atomic(uint64_t) *)(const void *)(p - TRAILER);
	uint64_t trailer;

	/* Before the first cell of a slab may be a guard, or a large object. */
	if (__builtin_expect((uintptr_t)p % SLAB_SIZE == 0, 0))
		trailer = slab_word_before(p);
	else
		trailer = atomic_load_explicit(at, memory_order_relaxed);
	/* Which of the two it is cannot be foreseen: a branch less. */
	if (__builtin_expect(trailer & -(uint64_t)!is_trailer(at, trailer), 0))
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
	struct quarantine *q = spares;

	if (q) {
		spares = q->next;
		spare_count--;
		return q;
	}
	q = sys_map(sizeof(*q));
	errno = saved_errno;
	if (q)
		q->random = scramble(secret ^ (uintptr_t)q);
	return q;
}

void hardened_drop_quarantine(struct quarantine *q)
{
	if (!q)
		return;
	if (spare_count == SPARES_MAX) {
		sys_release(q, sizeof(*q));
		return;
	}
	q->next = spares;
	spares = q;
	spare_count++;
}

static void count(struct quarantine *q, unsigned int class, int n)
{
	atomic_store_explicit(&q->count[class], (uint8_t)(q->count[class] + n),
			      memory_order_relaxed);
}

/* tcache_take_cell and tcache_put_cell, where nothing else is to be done. */
static inline void *take(unsigned int class)
{
	struct tcache *tc = tcache_thread.own;
	void *cell = MAGAZINE_END;

	if ((uintptr_t)tc > (uintptr_t)TCACHE_ENDED && !tc->watch)
		cell = *tc->bins[class].top;
	if (__builtin_expect(cell == MAGAZINE_END, 0))
		return tcache_take_cell(class, NULL);
	tc->bins[class].top++;
	tc->allocs++;
	__builtin_prefetch(*tc->bins[class].top, 1); /* the next one is read whole, too */
	return cell;
}

static inline void give(struct tcache *tc, unsigned int class, void *cell)
{
	struct bin *bin = &tc->bins[class];

	if (__builtin_expect((uintptr_t)bin->top % MAGAZINE_SIZE == 0, 0)) {
		tcache_put_cell(class, cell);
		return;
	}
	bin_push(bin, cell);
	tc->frees++;
}

/* cell, which is zero, goes into quarantine, and what leaves it for that is free. */
static inline void put(unsigned int class, void *cell)
{
	struct tcache *tc = tcache_own();
	void **place, *leaves;

	if (__builtin_expect(!tc || !tc->quarantine, 0)) {
		tcache_put_cell(class, cell);
		return;
	}
	place = &tc->quarantine
			 ->cells[class][random_below(tc->quarantine, quarantine_sizes[class])];
	leaves = *place;
	*place = cell;
	if (__builtin_expect(!leaves, 0))
		count(tc->quarantine, class, 1);
	else
		give(tc, class, leaves);
}

void hardened_flush(struct tcache *tc, unsigned int class)
{
	struct quarantine *q = tc->quarantine;

	if (!hardened_quarantined(tc, class))
		return;
	slab_enter(class);
	for (unsigned int i = 0; i < QUARANTINE_MAX; i++) {
		void *cell = q->cells[class][i];

		if (!cell)
			continue;
		q->cells[class][i] = NULL;
		count(q, class, -1);
		slab_give_locked(class, &cell, 1);
	}
	slab_leave(class);
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
		    !is_zero(cell, slab_classes[class].size))
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

static inline void *alloc_cell(unsigned int class, size_t size)
{
	char *cell = take(class);

	if (__builtin_expect(!cell, 0))
		return NULL;
	if (__builtin_expect(!is_zero(cell, slab_classes[class].size), 0))
		sys_fatal("malloc", cell, "this free block was written to");
	return seal(cell, slab_classes[class].size, size);
}

static __attribute__((noinline, cold)) unsigned int live_class_slow(const char *call, void *p)
{
	struct cell_ref cell = slab_find(p);

	if (cell.state == CELL_NONE)
		return 0;
	if (cell.state != CELL_LIVE || !*trailer_of(p, slab_classes[cell.class].size))
		tcache_bad_pointer(call, p, &cell);
	return cell.class;
}

/* The class of p, which is live (a freed cell's trailer is zero); 0 if it is no cell. */
static inline unsigned int live_class(const char *call, void *p)
{
	unsigned int class = slab_class_of(p);

	if (__builtin_expect(class && *trailer_of(p, slab_classes[class].size), 1))
		return class;
	return live_class_slow(call, p);
}

static inline __attribute__((always_inline)) size_t cell_size(const char *call, void *p,
							      unsigned int class)
{
	size_t room = slab_classes[class].size;
	uint64_t trailer = atomic_load_explicit(trailer_of(p, room), memory_order_relaxed);

	check_before(call, p);
	return checked_size(call, p, room, trailer);
}

static inline void free_cell(const char *call, void *p, unsigned int class)
{
	size_t room = slab_classes[class].size;
	_Atomic(uint64_t) *at = trailer_of(p, room);

	cell_size(call, p, class);
	/* The last word decides, where two threads free a cell at once, and neighbors read it. */
	if (lock_is_needed() && !atomic_exchange(at, 0))
		live_class_slow(call, p);
	memset(p, 0, room);
	put(class, p);
}

/* Large objects: their sizes are exact, and what is around them is looked at below. */

static void *alloc_large(size_t size, size_t align)
{
	void *p = large_alloc(size, align, true);

	if (!p && size <= SYS_MAP_MAX && align <= SYS_MAP_MAX && tcache_reclaim())
		p = large_alloc(size, align, true);
	return p;
}

/* What goes with what the names promise. */

static __attribute__((noinline)) void *alloc_slow(size_t size, size_t align)
{
	unsigned int class = size > CELL_MAX ? CLASS_COUNT : tcache_class_of(room_for(size), align);
	void *p = size || align > CELL_ALIGN ? NULL : alloc_nothing();

	if (!p && class < CLASS_COUNT)
		p = alloc_cell(class, size);
	if (!p)
		p = alloc_large(size, align);
	if (!p && class < CLASS_COUNT) /* everything free has gone to the store meanwhile */
		p = alloc_cell(class, size);
	return p;
}

void *hardened_alloc(size_t size, size_t align)
{
	void *p = NULL;

	if (__builtin_expect(size - 1 < CELL_MAX - TRAILER && align <= CELL_ALIGN, 1))
		p = alloc_cell(class_of_size(room_for(size)), size);
	return p ? p : alloc_slow(size, align);
}

void hardened_free(const char *call, void *p)
{
	unsigned int class;

	if (__builtin_expect(is_nothing(p), 0)) {
		free_nothing(call, p);
		return;
	}
	class = live_class(call, p);
	if (class) {
		free_cell(call, p, class);
		return;
	}
	large_free(call, p);
	tcache_tick_free();
}

size_t hardened_usable_size(const char *call, void *p)
{
	unsigned int class;

	if (is_nothing(p)) {
		nothing_index(call, p);
		return 0;
	}
	class = live_class(call, p);
	return class ? cell_size(call, p, class) : large_usable_size(call, p);
}

/* p has room bytes: whether it may stay where it is with size of them. */
static bool may_stay(size_t room, size_t size)
{
	size_t slack = room - TRAILER - size;

	return size <= room - TRAILER && slack <= SLACK_MAX && slack <= room / 2;
}

/* What has grown will grow again: in small steps it moves at every few of them only. */
static void *alloc_roomy(size_t old, size_t size)
{
	size_t roomy = old + old / 4;
	void *p = NULL;

	if (size > old && size < roomy && roomy <= CELL_MAX - TRAILER)
		p = alloc_cell(class_of_size(room_for(roomy)), size);
	return p ? p : hardened_alloc(size, CELL_ALIGN);
}

static void *move(const char *call, void *p, size_t old, size_t size)
{
	void *q = alloc_roomy(old, size);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	hardened_free(call, p);
	return q;
}

static void *realloc_large(const char *call, void *p, size_t size)
{
	size_t old = large_usable_size(call, p);
	void *q = size > CELL_MAX - TRAILER ? large_resize(call, p, size) : NULL;

	if (q)
		return q;
	if (size > old && size <= SYS_MAP_MAX)
		q = large_alloc_growing(size);
	if (!q)
		return move(call, p, old, size);
	memcpy(q, p, old);
	hardened_free(call, p);
	return q;
}

void *hardened_realloc(const char *call, void *p, size_t size)
{
	unsigned int class;
	size_t old, room;

	if (is_nothing(p)) {
		nothing_index(call, p);
		return move(call, p, 0, size);
	}
	class = live_class(call, p);
	if (!class)
		return realloc_large(call, p, size);
	old = cell_size(call, p, class);
	room = slab_classes[class].size;
	if (may_stay(room, size) && (size >= old || tcache_may_keep(room - TRAILER, size)))
		return seal(p, room, size);
	return move(call, p, old, size);
}
