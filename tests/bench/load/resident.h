/* SPDX-License-Identifier: BSD-3-Clause */

/* What a process can say of its own memory without allocating any. */

#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * The KiB of this process that smaps_rollup has in the line of that name; 0 if the kernel does not
 * tell. It counts page by page, where the counters behind ru_maxrss are some dozens of pages late.
 */
static inline size_t smaps_kib(const char *name)
{
	char text[1024] = "";
	const char *line;
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	line = n > 0 ? strstr(text, name) : NULL;
	return line ? strtoul(line + strlen(name), NULL, 10) : 0;
}

/* Those that are in memory now. */
static inline size_t resident_kib(void)
{
	return smaps_kib("\nRss:");
}

/* Those of them that no other process shares and that were written to. */
static inline size_t private_kib(void)
{
	return smaps_kib("\nPrivate_Dirty:");
}

/* The most KiB of it that ever were, about. */
static inline size_t peak_resident_kib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (size_t)usage.ru_maxrss;
}

/* How many mappings it has; 0 if the kernel does not tell. */
static inline size_t mapping_count(void)
{
	char text[4096];
	size_t lines = 0;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0)
		return 0;
	while ((n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}
