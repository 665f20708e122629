// SPDX-License-Identifier: BSD-3-Clause

/*
 * The operators in a process without any C++ runtime. With an argument, new fails and nobody could
 * catch.
 */

#include <stdint.h>
#include <stdlib.h>

void *operator_new(size_t size) __asm__("_Znwm");
void *operator_new_nothrow(size_t size, const void *tag) __asm__("_ZnwmRKSt9nothrow_t");
void operator_delete(void *p) __asm__("_ZdlPv");

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		operator_new(PTRDIFF_MAX);
	operator_delete(operator_new(100));
	return operator_new_nothrow(PTRDIFF_MAX, "") != NULL;
}
