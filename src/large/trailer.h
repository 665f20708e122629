/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The bytes behind the user's in a hardened cell of room bytes: padding (slack), then a canary
 * (trailer) in the last word. The canary is a keyed hash of its address and of the length of the
 * padding. See hardened.h.
 *
 *	user's bytes | padding, starts with a pattern | canary, 8 bytes |
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "zero.h"

#define TRAILER sizeof(uint64_t)
#define USER_MIN ((size_t)9) /* the 16 bytes before a canary belong to its cell */
#define SLACK_BITS 24
#define SLACK_MAX (((size_t)1 << SLACK_BITS) - 1)

#define PATTERN_MAX ((size_t)64) /* bytes of it: an overflow hits the first */

/* Unaligned, for patterns. */
typedef uint64_t lane __attribute__((vector_size(16), aligned(1), may_alias));

/* Keys of the process. factor is odd; all bytes of pattern are equal, above 127. */
extern struct trailer_key {
	uint64_t secret, factor;
	lane pattern[PATTERN_MAX / sizeof(lane)];
} trailer_key __attribute__((visibility("hidden")));

static inline size_t room_for(size_t size)
{
	return (size < USER_MIN ? USER_MIN : size) + TRAILER;
}

static inline _Atomic(uint64_t) *trailer_of(void *p, size_t room)
{
	return (_Atomic(uint64_t) *)(void *)((char *)p + room - TRAILER);
}

static inline uint64_t load_trailer(void *p, size_t room)
{
	return atomic_load_explicit(trailer_of(p, room), memory_order_relaxed);
}

/*
 * The upper half of the product prevents that canaries reveal others. The first byte
 * (little-endian) is above 127, so no overlong text ends in a valid canary.
 */
static inline uint64_t make_trailer(const void *at, size_t slack)
{
	uint64_t top = (uint64_t)slack << (64 - SLACK_BITS),
		 x = trailer_key.secret ^ (uintptr_t)at ^ top;
	unsigned __int128 product = (unsigned __int128)x * trailer_key.factor;

	return top | ((uint64_t)product ^ (uint64_t)(product >> 64)) >> SLACK_BITS | 0x80;
}

static inline size_t slack_of(uint64_t trailer)
{
	return trailer >> (64 - SLACK_BITS);
}

static inline bool is_trailer(const void *at, uint64_t trailer)
{
	return trailer == make_trailer(at, slack_of(trailer));
}

/*
 * Mask for the last slack bytes, at most 16, before a canary. Branch-free, because sizes are mixed;
 * only cells above 1 KiB can have more padding.
 */
static inline lane slack_bits(size_t slack)
{
	static const unsigned char bits[32] = {[16 ... 31] = 0xff};

	return *(const lane *)(const void *)&bits[slack];
}

static inline lane *lane_at(const void *p)
{
	return (lane *)(uintptr_t)p;
}

static inline void put_pattern(char *p, size_t slack)
{
	memcpy(p, &trailer_key.pattern, slack < PATTERN_MAX ? slack : PATTERN_MAX);
}

static inline bool has_pattern(const char *p, size_t slack)
{
	return !memcmp(p, &trailer_key.pattern, slack < PATTERN_MAX ? slack : PATTERN_MAX);
}

/* Write the pattern for more padding than a lane. */
static __attribute__((noinline, unused)) void *seal_wide(char *p, size_t size, size_t slack)
{
	put_pattern(p + size, slack);
	return p;
}

/* Write the padding and the canary of size user bytes in a cell of room bytes. */
static inline void *seal(void *p, size_t room, size_t size)
{
	size_t slack = room - TRAILER - size;
	_Atomic(uint64_t) *at = trailer_of(p, room);
	lane *last = lane_at(at) - 1;

	atomic_store_explicit(at, make_trailer(at, slack), memory_order_relaxed);
	if (slack > sizeof(lane))
		return seal_wide(p, size, slack);
	*last ^= (*last ^ trailer_key.pattern[0]) & slack_bits(slack);
	return p;
}

/*
 * Write the canary for slack into a free cell of room bytes. Returns 0 if the cell was zero. The
 * canary is added to memory before any read: so the first access to a fresh page is a write, which
 * faults once. A read would fault first.
 */
static inline __attribute__((always_inline)) uint64_t claim(void *p, size_t room, size_t slack)
{
	_Atomic(uint64_t) *at = trailer_of(p, room);
	uint64_t trailer = make_trailer(at, slack);
	lane any;

	__asm__("addq %1, %0" : "+m"(*at) : "r"(trailer) : "cc", "memory");
	any = lane_at(at)[-1] | zero_lanes(p, room - sizeof(lane));
	return any[0] | any[1] | (atomic_load_explicit(at, memory_order_relaxed) ^ trailer);
}

/* seal for a cell that claim has checked. */
static inline void *seal_claimed(void *p, size_t room, size_t size, size_t slack)
{
	if (slack > sizeof(lane))
		return seal_wide(p, size, slack);
	lane_at(trailer_of(p, room))[-1] = trailer_key.pattern[0] & slack_bits(slack);
	return p;
}

/* 0 if canary, at, and the padding of up to 16 bytes before it are intact. */
static inline uint64_t end_faults(const char *at, uint64_t trailer)
{
	size_t slack = slack_of(trailer);
	lane last = (lane_at(at)[-1] ^ trailer_key.pattern[0]) & slack_bits(slack);

	return last[0] | last[1] | (trailer ^ make_trailer(at, slack));
}

/* Whether all bytes behind the user's are intact. */
static inline bool is_intact(const char *p, size_t room, uint64_t trailer)
{
	size_t slack = slack_of(trailer);
	const char *end = p + room - TRAILER;

	if (slack <= sizeof(lane))
		return !end_faults(end, trailer);
	return is_trailer(end, trailer) && slack <= room - TRAILER &&
	       has_pattern(end - slack, slack);
}

/*
 * 0 if the word before a cell, at, is a canary or zero. Branch-free, because the two are equally
 * likely.
 */
static inline uint64_t start_faults(const void *at, uint64_t trailer)
{
	return trailer & -(uint64_t)!is_trailer(at, trailer);
}
