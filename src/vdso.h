/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The vDSO: a shared object of the kernel's, mapped into every process, whose functions do without
 * a system call. libc calls it for clock_gettime, 3 ns instead of 130, but libc's function may be
 * interposed (kernel.h).
 */

#pragma once

/* The function of this name, or NULL: there is none, or no vDSO (valgrind takes it away). */
void *vdso_find(const char *name);
