/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Call frame information: where a function's caller is, from the .eh_frame sections in memory. The
 * compilers write them for all code, with or without frame pointers.
 */

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "object.h"

enum cfi_kind {
	CFI_NONE, /* no information: code that was generated at run time, or in assembler */
	CFI_FRAME,
	CFI_SIGNAL, /* the kernel called a signal handler here */
	CFI_OUTERMOST, /* there is no caller */
	CFI_ODD, /* the information has a form that cfi_read does not know */
};

enum cfi_base {
	CFI_SP,
	CFI_FP,
	CFI_OTHER
};

enum cfi_place {
	CFI_SAME,
	CFI_AT_CFA,
	CFI_AT_FP
};

/*
 * How to get from the registers at an address in a function to those of its caller. The CFA, the
 * canonical frame address, is base + offset, or the word there. It is the caller's sp. fp and other
 * are the same or in a word relative to the CFA or to fp. Where other is not the return address,
 * that is in the word below the CFA. Offsets are in words.
 */
union cfi_rule {
	struct {
		uint64_t kind : 3, base : 2, is_loaded : 1, fp : 2, other : 2;
		int64_t fp_offset : 16, other_offset : 16, offset : 22;
	};
	uint64_t word;
};

_Static_assert(sizeof(union cfi_rule) == sizeof(uint64_t), "a table stores rules as words");

/* The rule for an address in the object. */
union cfi_rule cfi_read(const struct object *object, uintptr_t address);
