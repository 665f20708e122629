// SPDX-License-Identifier: BSD-3-Clause

#include "sample_table.h"

#include <string.h>

#include "cache/tcache.h"
#include "chance.h"
#include "fork.h"
#include "hash.h"
#include "helpers.h"
#include "lock.h"
#include "tunables.h"

/* Entries of one kind, one behind another. */
struct chunk {
	struct chunk *next; /* an older one */
	_Atomic(size_t) used; /* bytes of complete entries */
	char entries[SAMPLE_CHUNK - 16];
};

_Static_assert(sizeof(struct chunk) == SAMPLE_CHUNK, "a chunk has no padding");

/* Chains that are replaced by more are not returned: rule 2. */
_Atomic(struct sample_chains *) sample_chains;

static struct {
	struct lock lock; /* guards what is not atomic */
	_Atomic(size_t) interval;
	_Atomic(struct chunk *) samples; /* the newest chunk */
	struct chunk *stacks;
	struct sample_chains *stacks_by_hash;
	struct sample *free; /* entries that are in no chain */
	size_t sample_count, stack_count; /* in chains */
	_Atomic(uint64_t) live_bytes; /* in the units of chance_weight */
	_Atomic(size_t) dropped, mapped;
} table;

/* Entering: rule 3. Bits of lock_self: the thread is inside, and it holds the lock. */
#define INSIDE 1U
#define HOLDS 2U

bool table_begin(void)
{
	if (lock_self & INSIDE)
		return false;
	fork_check();
	lock_self |= INSIDE;
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

void table_end(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	lock_self &= (uint16_t)~INSIDE;
}

static void hold(void)
{
	lock_acquire(&table.lock);
	lock_self |= HOLDS;
}

static void drop(void)
{
	lock_self &= (uint16_t)~HOLDS;
	lock_release(&table.lock);
}

/* Memory. */

static void *map(size_t size)
{
	void *p = sys_map(size);

	if (p)
		atomic_fetch_add_explicit(&table.mapped, size, memory_order_relaxed);
	return p;
}

static struct sample_chains *new_chains(size_t count)
{
	struct sample_chains *chains = map(sizeof(*chains) + count * sizeof(chains->heads[0]));

	if (chains)
		chains->count = count;
	return chains;
}

static _Atomic(void *) *stack_chain_of(struct sample_chains *chains, uint64_t hash)
{
	return &chains->heads[hash & (chains->count - 1)];
}

static void *load(_Atomic(void *) *head)
{
	return atomic_load_explicit(head, memory_order_relaxed);
}

static void store(_Atomic(void *) *head, void *p)
{
	atomic_store_explicit(head, p, memory_order_relaxed);
}

static struct chance_weight weigh(const struct sample *s)
{
	return chance_weigh(s->size, table.interval);
}

/* Chains: rule 1. */

static void clear(struct sample_chains *chains)
{
	for (size_t i = 0; i < chains->count; i++)
		store(&chains->heads[i], NULL);
}

static void link_sample(struct sample_chains *chains, struct sample *s, uintptr_t address)
{
	_Atomic(void *) *head = sample_chain_of(chains, address);

	s->next = load(head);
	store(head, s);
	table.sample_count++;
}

static void link_stack(struct sample_chains *chains, struct stack *stack)
{
	_Atomic(void *) *head = stack_chain_of(chains, stack->hash);

	stack->next = load(head);
	store(head, stack);
	table.stack_count++;
}

#define SAMPLES_IN_CHUNK ((SAMPLE_CHUNK - 16) / sizeof(struct sample))

static struct sample *sample_in(struct chunk *c, size_t i)
{
	return (struct sample *)(void *)c->entries + i;
}

static size_t stack_bytes(unsigned int depth)
{
	return sizeof(struct stack) + depth * sizeof(uintptr_t);
}

/* The stack behind another one in chunk c, or the first. NULL: there is none. */
static struct stack *next_stack(struct chunk *c, struct stack *stack)
{
	char *next = stack ? (char *)stack + stack_bytes(stack->depth) : c->entries;

	return next < c->entries + c->used ? (struct stack *)(void *)next : NULL;
}

/* Make the chains of all samples anew, from empty ones. */
static void link_all_samples(struct sample_chains *chains)
{
	table.free = NULL;
	table.sample_count = 0;
	for (struct chunk *c = table.samples; c; c = c->next)
		for (size_t i = 0; i < SAMPLES_IN_CHUNK; i++) {
			struct sample *s = sample_in(c, i);
			uintptr_t address = s->address;

			if (address) {
				link_sample(chains, s, address);
			} else {
				s->next = table.free;
				table.free = s;
			}
		}
}

static void link_all_stacks(struct sample_chains *chains)
{
	table.stack_count = 0;
	for (struct chunk *c = table.stacks; c; c = c->next)
		for (struct stack *stack = NULL; (stack = next_stack(c, stack));)
			link_stack(chains, stack);
}

/* Twice as many chains. NULL: there are enough for that many entries, or memory is refused. */
static struct sample_chains *more_chains(const struct sample_chains *chains, size_t entries)
{
	return entries * CHAINS_FREE > chains->count ? new_chains(2 * chains->count) : NULL;
}

static void spread(void)
{
	struct sample_chains *samples = more_chains(sample_chains, table.sample_count);
	struct sample_chains *stacks = more_chains(table.stacks_by_hash, table.stack_count);

	if (samples) {
		link_all_samples(samples);
		atomic_store_explicit(&sample_chains, samples, memory_order_release);
	}
	if (stacks) {
		link_all_stacks(stacks);
		table.stacks_by_hash = stacks;
	}
}

/* False if there is no memory. */
static bool has_chains(void)
{
	if (!table.stacks_by_hash)
		table.stacks_by_hash = new_chains(CHAINS_MIN);
	if (!sample_chains)
		sample_chains = new_chains(CHAINS_MIN);
	return table.stacks_by_hash && sample_chains;
}

/* Stacks. */

static struct stack *find_stack(const uintptr_t *frames, unsigned int depth, uint64_t hash)
{
	struct stack *stack = load(stack_chain_of(table.stacks_by_hash, hash));

	while (stack && (stack->hash != hash || stack->depth != depth ||
			 memcmp(stack->frames, frames, depth * sizeof(*frames)) != 0))
		stack = stack->next;
	return stack;
}

static struct stack *new_stack(const uintptr_t *frames, unsigned int depth, uint64_t hash)
{
	size_t size = stack_bytes(depth);
	struct chunk *c = table.stacks;
	struct stack *stack;

	if (!c || c->used + size > sizeof(c->entries)) {
		c = map(sizeof(*c));
		if (!c)
			return NULL;
		c->next = table.stacks;
		atomic_signal_fence(memory_order_release); /* for a fork, here and below */
		table.stacks = c;
	}
	stack = (struct stack *)(void *)(c->entries + c->used);
	stack->hash = hash;
	stack->depth = depth;
	memcpy(stack->frames, frames, depth * sizeof(*frames));
	atomic_store_explicit(&c->used, c->used + size, memory_order_release);
	link_stack(table.stacks_by_hash, stack);
	return stack;
}

static struct stack *stack_of(const uintptr_t *frames, unsigned int depth)
{
	uint64_t hash = depth;
	struct stack *stack;

	for (unsigned int i = 0; i < depth; i++)
		hash = hash_full(hash ^ frames[i]);
	stack = find_stack(frames, depth, hash);
	return stack ? stack : new_stack(frames, depth, hash);
}

/* Samples. */

/* An entry that is in no chain, or NULL. */
static struct sample *free_entry(void)
{
	struct chunk *c;

	if (table.free)
		return table.free;
	c = map(sizeof(*c));
	if (!c)
		return NULL;
	for (size_t i = 0; i < SAMPLES_IN_CHUNK; i++) {
		sample_in(c, i)->next = table.free;
		table.free = sample_in(c, i);
	}
	c->next = table.samples;
	atomic_store_explicit(&table.samples, c, memory_order_release);
	return table.free;
}

/* The entry with address, or NULL. Entries on the way whose sample has ended leave the chain. */
static struct sample *find_sample(uintptr_t address)
{
	_Atomic(void *) *head = sample_chain_of(sample_chains, address);
	struct sample *last = NULL, *next;

	for (struct sample *s = load(head); s; s = next) {
		next = s->next;
		if (s->address == address)
			return s;
		if (s->address) {
			last = s;
			continue;
		}
		if (last)
			last->next = next;
		else
			store(head, next);
		s->next = table.free;
		table.free = s;
		table.sample_count--;
	}
	return NULL;
}

static bool add(const struct sample *sample, const uintptr_t *frames, unsigned int depth,
		bool is_new)
{
	struct sample *s = has_chains() ? free_entry() : NULL;
	struct stack *stack = sample->stack;
	struct chance_weight weight;

	if (s && !stack)
		stack = stack_of(frames, depth);
	if (!s || !stack)
		return false;
	weight = weigh(sample);
	table.free = s->next;
	s->stack = stack;
	s->size = sample->size;
	s->stack_size = sample->stack_size;
	s->thread = sample->thread;
	s->live_bytes = weight.bytes;
	atomic_store_explicit(&s->address, sample->address, memory_order_release);
	link_sample(sample_chains, s, sample->address);
	if (is_new) {
		stack->total_objects += weight.objects;
		stack->total_bytes += weight.bytes;
	}
	atomic_fetch_add_explicit(&table.live_bytes, weight.bytes, memory_order_relaxed);
	spread();
	return true;
}

bool table_add(const struct sample *sample, const uintptr_t *frames, unsigned int depth,
	       bool is_new)
{
	bool is_added;

	hold();
	is_added = add(sample, frames, depth, is_new);
	drop();
	if (!is_added)
		table_note_dropped();
	return is_added;
}

static void subtract(const struct sample *s)
{
	atomic_fetch_sub_explicit(&table.live_bytes, s->live_bytes, memory_order_relaxed);
}

/* Field by field: a copy of a copy waits for its stores, which doubles the time of a removal. */
static void copy_sample(struct sample *to, const struct sample *s)
{
	to->address = s->address;
	to->stack = s->stack;
	to->size = s->size;
	to->stack_size = s->stack_size;
	to->thread = s->thread;
}

bool table_remove(const void *p, struct sample *sample)
{
	struct sample *s;

	hold();
	s = find_sample((uintptr_t)p);
	if (s) {
		copy_sample(sample, s);
		subtract(s);
		s->address = 0;
		find_sample((uintptr_t)p);
	}
	drop();
	return s;
}

bool table_resize(const void *p, size_t size)
{
	struct chance_weight weight;
	struct sample *s;

	hold();
	s = find_sample((uintptr_t)p);
	if (s && size - s->stack_size >= table.interval && size > s->stack_size)
		s = NULL;
	if (s) {
		weight = chance_weigh(size, table.interval);
		s->stack->total_objects += weight.objects;
		s->stack->total_bytes += weight.bytes;
		atomic_fetch_add_explicit(&table.live_bytes, weight.bytes - s->live_bytes,
					  memory_order_relaxed);
		s->live_bytes = weight.bytes;
		s->size = size;
		s->thread = sys_thread();
	}
	drop();
	return s;
}

bool table_remove_nested(const void *p, struct sample *sample)
{
	for (struct chunk *c = table.samples; c; c = c->next)
		for (size_t i = 0; i < SAMPLES_IN_CHUNK; i++) {
			struct sample *s = sample_in(c, i);

			if (s->address != (uintptr_t)p)
				continue;
			copy_sample(sample, s);
			subtract(s);
			s->address = 0;
			return true;
		}
	return false;
}

void table_note_dropped(void)
{
	atomic_fetch_add_explicit(&table.dropped, 1, memory_order_relaxed);
}

uint64_t table_live_bytes(void)
{
	return atomic_load_explicit(&table.live_bytes, memory_order_relaxed) >> BYTES_SHIFT;
}

void sample_each_range(void (*visit)(const void *start, size_t size, void *arg), void *arg)
{
	for (const struct chunk *c = table.samples; c; c = c->next)
		visit(c, sizeof(*c), arg);
}

bool sample_find(const void *p, struct sample_info *info)
{
	struct sample *s;

	if (!p || !sample_may_be(p) || !table_begin())
		return false;
	hold();
	s = find_sample((uintptr_t)p);
	if (s)
		*info = (struct sample_info){.frames = s->stack->frames,
					     .depth = s->stack->depth,
					     .thread = s->thread,
					     .size = s->size};
	drop();
	table_end();
	return s;
}

/* Start, and forks. */

/*
 * The thread that held the lock does not exist here, unless it is this one, which forks in a signal
 * handler.
 */
void table_fork_child(void)
{
	uint64_t live_bytes = 0;

	chance_seed();
	if (lock_self & HOLDS || !lock_is_held(&table.lock))
		return;
	lock_reset(&table.lock);
	if (!sample_chains || !table.stacks_by_hash)
		return;
	clear(sample_chains);
	link_all_samples(sample_chains);
	clear(table.stacks_by_hash);
	link_all_stacks(table.stacks_by_hash);
	for (struct chunk *c = table.samples; c; c = c->next)
		for (size_t i = 0; i < SAMPLES_IN_CHUNK; i++)
			if (sample_in(c, i)->address)
				live_bytes += sample_in(c, i)->live_bytes;
	table.live_bytes = live_bytes;
}

void table_start(size_t interval)
{
	if (table.interval)
		return;
	chance_seed();
	table.interval = interval;
}

size_t table_interval(void)
{
	return table.interval;
}

/* Figures and copies. */

void table_get_stats(struct sample_stats *stats)
{
	*stats = (struct sample_stats){.interval = table.interval,
				       .live_bytes = table_live_bytes(),
				       .dropped = table.dropped,
				       .table_bytes = table.mapped};
	if (!table_begin())
		return;
	hold();
	stats->live = table.sample_count;
	stats->stacks = table.stack_count;
	drop();
	table_end();
}

static void copy_entry(struct table_copy *copy, struct sample_entry entry)
{
	if (copy->count < copy->room)
		copy->entries[copy->count] = entry;
	copy->count++;
}

static void copy_stacks(struct table_copy *copy)
{
	for (struct chunk *c = table.stacks; c; c = c->next)
		for (struct stack *stack = NULL; (stack = next_stack(c, stack));)
			copy_entry(copy,
				   (struct sample_entry){.frames = stack->frames,
							 .depth = stack->depth,
							 .total_objects = stack->total_objects,
							 .total_bytes = stack->total_bytes});
}

static void copy_samples(struct table_copy *copy)
{
	for (struct chunk *c = table.samples; c; c = c->next)
		for (size_t i = 0; i < SAMPLES_IN_CHUNK; i++) {
			const struct sample *s = sample_in(c, i);
			struct chance_weight weight;

			if (!s->address)
				continue;
			weight = weigh(s);
			copy_entry(copy, (struct sample_entry){.frames = s->stack->frames,
							       .depth = s->stack->depth,
							       .thread = s->thread,
							       .live_objects = weight.objects,
							       .live_bytes = weight.bytes});
		}
}

void table_copy(struct table_copy *copy)
{
	hold();
	copy->count = 0;
	copy_stacks(copy);
	copy->stacks = copy->count;
	copy_samples(copy);
	drop();
}
