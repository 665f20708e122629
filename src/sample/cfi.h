/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Call frame information: where a function's caller is, from the .eh_frame sections in memory. The
 * compiler writes them for all code of x86_64, with or without frame pointers.
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
	CFI_RSP,
	CFI_RBP,
	CFI_RBX
};

enum cfi_place {
	CFI_SAME,
	CFI_AT_CFA,
	CFI_AT_RBP
};

/*
 * How to get from the registers at an address in a function to those of its caller. The CFA, the
 * canonical frame address, is base + offset, or the word there. It is the caller's rsp. The return
 * address is in the word below it. rbp and rbx are the same or in a word relative to the CFA or to
 * rbp.
 */
union cfi_rule {
	struct {
		uint64_t kind : 3, base : 2, is_loaded : 1, rbp : 2, rbx : 2;
		int64_t rbp_offset : 11, rbx_offset : 11; /* in words */
		int64_t offset : 32;
	};
	uint64_t word;
};

_Static_assert(sizeof(union cfi_rule) == sizeof(uint64_t), "a table stores rules as words");

/* The rule for an address in the object. */
union cfi_rule cfi_read(const struct object *object, uintptr_t address);
