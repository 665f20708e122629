/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What /proc says of this process and others. Nothing here allocates or takes a lock, and buffers
 * on the stack are small.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROC_NAME 32

/* A mapping of the process. */
struct proc_mapping {
	uintptr_t start, end;
	bool is_readable, is_writable, is_shared;
	char name[PROC_NAME]; /* the start of the file's path, or "[stack]" and the like, or "" */
};

/*
 * Call visit for each mapping, in address order. False with errno if they cannot be read.
 */
bool proc_each_mapping(void (*visit)(const struct proc_mapping *m, void *arg), void *arg);

/* Call visit with the id of each thread. False with errno if /proc/self/task cannot be read. */
bool proc_each_thread(void (*visit)(uint32_t id, void *arg), void *arg);

/* Whether there are other threads. True if neither libc nor /proc tells. */
bool proc_has_threads(void);

/* Whether thread id runs code of the program: it has not ended, and is no worker of the kernel. */
bool proc_thread_is_alive(uint32_t id);

/* Whether process is this one or an ancestor of it. False if /proc does not tell. */
bool proc_is_ancestor(uint32_t process);

/* Bits of an entry of /proc/self/pagemap, which describes one page. */
#define PROC_PAGE_PRESENT (UINT64_C(1) << 63)
#define PROC_PAGE_SWAPPED (UINT64_C(1) << 62)
#define PROC_PAGE_FILE (UINT64_C(1) << 61) /* an unmodified page of a file, or a shared one */

/* Open the page table, for sys_close. -1 with errno. */
int proc_open_pages(void);

/* Read the entries of n pages from p on. Returns how many were read. */
size_t proc_read_pages(int fd, uintptr_t p, uint64_t *entries, size_t n);
