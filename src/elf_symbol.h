/* SPDX-License-Identifier: BSD-3-Clause */

/* Symbols of shared objects in memory, without libc's dlsym, which may allocate. */

#pragma once

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The address of a symbol that the object defines, or NULL. Ignores versions. bias is the load
 * address of the object; may_be_relocated: libc may have added it to the dynamic section.
 */
void *elf_symbol(const ElfW(Phdr) * headers, size_t count, uintptr_t bias, bool may_be_relocated,
		 const char *name);

/*
 * The function of this name in the vDSO, or NULL. The vDSO is a shared object that the kernel maps
 * into every process (valgrind hides it). Its functions make no system call: clock_gettime takes
 * 3 ns instead of 130. libc calls it too, but libc's function may be interposed (kernel.h).
 */
void *elf_vdso_symbol(const char *name);

/*
 * A symbol that the C library defines as a shared object, or NULL, as in static programs. Asks the
 * loader for the objects, so it is for the start of a process.
 */
void *elf_libc_symbol(const char *name);
