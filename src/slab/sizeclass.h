/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Size classes of small objects: size to class and back. Sizes are in bytes.
 *
 *	class      sizes             step
 *	1 … 64     16 … 1024         16
 *	65 … 104   1152 … 32768      an eighth of a doubling
 *
 * Above 128 bytes, a cell is at most 12.5 % larger than the next smaller one. Class 0 is invalid.
 * Classes from CLASS_COUNT on hold the library's own objects.
 */

#pragma once

#include <stddef.h>

#define CELL_ALIGN ((size_t)16)
#define CELL_FINE_MAX ((size_t)1024) /* up to here a class every CELL_ALIGN */
#define CELL_MAX ((size_t)32768) /* larger objects have no cells */

#define CLASS_FINE_COUNT 64
#define CLASS_STEPS_SHIFT 3 /* classes in a doubling, as a power of two */
#define CLASS_COUNT 105 /* class 0 included */

_Static_assert(CELL_FINE_MAX / CELL_ALIGN == CLASS_FINE_COUNT, "one class for every step");
_Static_assert(CLASS_COUNT == 1 + CLASS_FINE_COUNT + (5 << CLASS_STEPS_SHIFT),
	       "five doublings from CELL_FINE_MAX to CELL_MAX");
_Static_assert(CELL_FINE_MAX << 5 == CELL_MAX, "five doublings from CELL_FINE_MAX to CELL_MAX");

/* The smallest class whose cells have size bytes; 1 <= size <= CELL_MAX. */
static inline unsigned int class_of_size(size_t size)
{
	unsigned int shift;

	if (size <= CELL_FINE_MAX)
		return (unsigned int)((size + CELL_ALIGN - 1) / CELL_ALIGN);
	shift = (unsigned int)(63 ^ __builtin_clzll(size - 1)) - CLASS_STEPS_SHIFT;
	/* The doubling above CELL_FINE_MAX has shift 7; within one, the quotient is 8 to 15. */
	return CLASS_FINE_COUNT + ((shift - 7) << CLASS_STEPS_SHIFT) +
	       (unsigned int)((size - 1) >> shift) - 7;
}

/* The bytes of a cell of class, 1 <= class < CLASS_COUNT. */
static inline size_t class_size(unsigned int class)
{
	unsigned int step;

	if (class <= CLASS_FINE_COUNT)
		return class * CELL_ALIGN;
	step = class - CLASS_FINE_COUNT - 1;
	return (size_t)(9 + (step & 7)) << (7 + (step >> CLASS_STEPS_SHIFT));
}
