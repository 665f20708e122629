// SPDX-License-Identifier: BSD-3-Clause

/*
 * The operators in a process without any C++ runtime. With an argument, plain or aligned, new fails
 * and nobody could catch.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *operator_new(size_t size) __asm__("_Znwm");
void *operator_new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
void *operator_new_nothrow(size_t size, const void *tag) __asm__("_ZnwmRKSt9nothrow_t");
void *
operator_new_array_aligned_nothrow(size_t size, size_t align,
				   const void *tag) __asm__("_ZnamSt11align_val_tRKSt9nothrow_t");
void operator_delete(void *p) __asm__("_ZdlPv");
void operator_delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t");

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "plain") == 0)
		operator_new(PTRDIFF_MAX);
	if (argc > 1 && strcmp(argv[1], "aligned") == 0)
		operator_new_aligned(PTRDIFF_MAX, 64);
	operator_delete(operator_new(100));
	operator_delete_aligned(operator_new_aligned(100, 64), 64);
	return operator_new_nothrow(PTRDIFF_MAX, "") ||
	       operator_new_array_aligned_nothrow(PTRDIFF_MAX, 64, "");
}
