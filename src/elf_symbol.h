/* SPDX-License-Identifier: BSD-3-Clause */

/* Symbols of shared objects in memory, without libc's dlsym, which may allocate. */

#pragma once

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The address of what the object defines by this name, or NULL; versions are not looked at. bias is
 * what has to be added to the object's own addresses, is_relocated whether libc has added it to
 * those of the dynamic section already.
 */
void *elf_symbol(const ElfW(Phdr) * headers, size_t count, uintptr_t bias, bool is_relocated,
		 const char *name);

/*
 * The name of the function that has this address, and where it begins, in *start; NULL if no
 * exported one has. The rest as above.
 */
const char *elf_function(const ElfW(Phdr) * headers, size_t count, uintptr_t bias,
			 bool is_relocated, uintptr_t address, uintptr_t *start);

/*
 * The function of this name in the vDSO, or NULL: there is none, or no vDSO (valgrind takes it
 * away). The vDSO is a shared object that the kernel maps into every process; its functions do
 * without a system call. libc calls it for clock_gettime, 3 ns instead of 130, but libc's function
 * may be interposed (kernel.h).
 */
void *elf_vdso_symbol(const char *name);
