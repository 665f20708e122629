/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What is behind the user's bytes of a hardened cell, and whether it is as it was written:
 * hardened.h. room is what a cell has in all; slack is what of it is neither the user's nor the
 * trailer's.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "zero.h"

#define TRAILER sizeof(uint64_t)
#define USER_MIN ((size_t)9) /* less counts as it: the 16 bytes before a trailer are the block's */
#define SLACK_BITS 24
#define SLACK_MAX (((size_t)1 << SLACK_BITS) - 1)

#define PATTERN_MAX ((size_t)64) /* bytes of it: an overflow meets the first */

/* Of patterns, wherever they are. */
typedef uint64_t lane __attribute__((vector_size(16), aligned(1), may_alias));

/* Of this process; factor is odd, and all bytes of pattern are one, above 127. */
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
 * Whoever has seen some cannot tell what another one is: the upper half of the product is in it.
 * Its first byte (of little-endian machines) is not zero and of no text, so that no text that is
 * too long ends with it.
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
 * The last slack of the 16 bytes before a trailer, as bits; more is all of them. Sizes are mixed,
 * so no branch asks how many there are: there is one for what cells above 1 KiB have only.
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

/* The pattern of more slack than a lane, between size bytes of the user's and the trailer. */
static __attribute__((noinline, unused)) void *seal_wide(char *p, size_t size, size_t slack)
{
	put_pattern(p + size, slack);
	return p;
}

/* The room bytes at p are size bytes of the user's now. */
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
 * A free cell of room bytes gets the trailer for that slack: zero, if it was zero. The trailer
 * comes first, and by an addition in memory: so the first touch of a fresh page is a write, which
 * faults once. After a read it would fault again.
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

/* The same as seal where there are zeroes and the trailer. */
static inline void *seal_claimed(void *p, size_t room, size_t size, size_t slack)
{
	if (slack > sizeof(lane))
		return seal_wide(p, size, slack);
	lane_at(trailer_of(p, room))[-1] = trailer_key.pattern[0] & slack_bits(slack);
	return p;
}

/* Zero, if a trailer, at, with a slack of up to 16 bytes before it is as seal has written them. */
static inline uint64_t end_faults(const char *at, uint64_t trailer)
{
	size_t slack = slack_of(trailer);
	lane last = (lane_at(at)[-1] ^ trailer_key.pattern[0]) & slack_bits(slack);

	return last[0] | last[1] | (trailer ^ make_trailer(at, slack));
}

/* Whether nothing was written behind what is the user's of the room bytes at p. */
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
 * Zero, if what is before a cell, at, is the trailer of another one, or zero: which of the two it
 * is cannot be foreseen, so there is a branch less.
 */
static inline uint64_t start_faults(const void *at, uint64_t trailer)
{
	return trailer & -(uint64_t)!is_trailer(at, trailer);
}
