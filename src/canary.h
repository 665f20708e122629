/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The bytes behind the user's in a hardened cell of room bytes: padding, then a canary in the last
 * word, a keyed hash of its address and of the length of the padding. See hardened.h.
 *
 *	user's bytes | padding, starts with a pattern | canary, 8 bytes |
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "arch.h"
#include "zero.h"

#define CANARY sizeof(uint64_t)
#define USER_MIN ((size_t)9) /* less counts as 9: the 16 bytes before a canary are its cell's */
#define PADDING_BITS 24
#define PADDING_MAX (((size_t)1 << PADDING_BITS) - 1)

#define PATTERN_MAX ((size_t)64) /* bytes of it: an overflow hits the first */

/* Unaligned, for patterns. */
typedef uint64_t lane __attribute__((vector_size(16), aligned(1), may_alias));

/* Keys of the process. factor is odd; all bytes of pattern are equal, above 127. */
extern struct canary_key {
	uint64_t secret, factor;
	lane pattern[PATTERN_MAX / sizeof(lane)];
} canary_key __attribute__((visibility("hidden")));

static inline size_t room_for(size_t size)
{
	return (size < USER_MIN ? USER_MIN : size) + CANARY;
}

static inline _Atomic(uint64_t) *canary_of(void *p, size_t room)
{
	return (_Atomic(uint64_t) *)(void *)((char *)p + room - CANARY);
}

static inline uint64_t load_canary(void *p, size_t room)
{
	return atomic_load_explicit(canary_of(p, room), memory_order_relaxed);
}

/*
 * The upper half of the product prevents that canaries reveal others. The first byte
 * (little-endian) is above 127, so no overlong text ends in a valid canary.
 */
static inline uint64_t make_canary(const void *at, size_t padding)
{
	uint64_t top = (uint64_t)padding << (64 - PADDING_BITS),
		 x = canary_key.secret ^ (uintptr_t)at ^ top;
	unsigned __int128 product = (unsigned __int128)x * canary_key.factor;

	return top | ((uint64_t)product ^ (uint64_t)(product >> 64)) >> PADDING_BITS | 0x80;
}

static inline size_t padding_of(uint64_t canary)
{
	return canary >> (64 - PADDING_BITS);
}

static inline bool is_canary(const void *at, uint64_t canary)
{
	return canary == make_canary(at, padding_of(canary));
}

/*
 * Mask for the last padding bytes, at most 16, before a canary. Branch-free, because sizes are
 * mixed; only cells above 1 KiB can have more padding.
 */
static inline lane padding_mask(size_t padding)
{
	static const unsigned char bits[32] = {[16 ... 31] = 0xff};

	return *(const lane *)(const void *)&bits[padding];
}

static inline lane *lane_at(const void *p)
{
	return (lane *)(uintptr_t)p;
}

static inline void put_pattern(char *p, size_t padding)
{
	memcpy(p, &canary_key.pattern, padding < PATTERN_MAX ? padding : PATTERN_MAX);
}

static inline bool has_pattern(const char *p, size_t padding)
{
	return !memcmp(p, &canary_key.pattern, padding < PATTERN_MAX ? padding : PATTERN_MAX);
}

/* Write the pattern for more padding than a lane. */
static __attribute__((noinline, unused)) void *write_padding(char *p, size_t size, size_t padding)
{
	put_pattern(p + size, padding);
	return p;
}

/* Write the padding and the canary of size user bytes in a cell of room bytes. */
static inline void *write_canary(void *p, size_t room, size_t size)
{
	size_t padding = room - CANARY - size;
	_Atomic(uint64_t) *at = canary_of(p, room);
	lane *last = lane_at(at) - 1;

	atomic_store_explicit(at, make_canary(at, padding), memory_order_relaxed);
	if (padding > sizeof(lane))
		return write_padding(p, size, padding);
	*last ^= (*last ^ canary_key.pattern[0]) & padding_mask(padding);
	return p;
}

/*
 * Write the canary for padding into a free cell of room bytes. Returns 0 if the cell was zero. The
 * canary is added to memory before any read: so the first access to a fresh page is a write, which
 * faults once. A read before it would fault, too.
 */
static inline __attribute__((always_inline)) uint64_t claim(void *p, size_t room, size_t padding)
{
	_Atomic(uint64_t) *at = canary_of(p, room);
	uint64_t canary = make_canary(at, padding);
	lane any;

	arch_add(at, canary);
	any = lane_at(at)[-1] | zero_lanes(p, room - sizeof(lane));
	return any[0] | any[1] | (atomic_load_explicit(at, memory_order_relaxed) ^ canary);
}

/* write_canary for a cell that claim has checked. */
static inline void *write_canary_claimed(void *p, size_t room, size_t size, size_t padding)
{
	if (padding > sizeof(lane))
		return write_padding(p, size, padding);
	lane_at(canary_of(p, room))[-1] = canary_key.pattern[0] & padding_mask(padding);
	return p;
}

/* 0 if canary, at, and the padding of up to 16 bytes before it are intact. */
static inline uint64_t end_faults(const char *at, uint64_t canary)
{
	size_t padding = padding_of(canary);
	lane last = (lane_at(at)[-1] ^ canary_key.pattern[0]) & padding_mask(padding);

	return last[0] | last[1] | (canary ^ make_canary(at, padding));
}

/* Whether all bytes behind the user's are intact. */
static inline bool is_intact(const char *p, size_t room, uint64_t canary)
{
	size_t padding = padding_of(canary);
	const char *end = p + room - CANARY;

	if (padding <= sizeof(lane))
		return !end_faults(end, canary);
	return is_canary(end, canary) && padding <= room - CANARY &&
	       has_pattern(end - padding, padding);
}

/*
 * 0 if the word before a cell, at, is a canary or zero. Branch-free, because the two are equally
 * likely.
 */
static inline uint64_t start_faults(const void *at, uint64_t canary)
{
	return canary & -(uint64_t)!is_canary(at, canary);
}
