/* SPDX-License-Identifier: BSD-3-Clause */

/* What a process can say of its own memory without allocating any. */

#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * KiB of this process that are in memory now; 0 if the kernel does not tell. smaps_rollup counts
 * page by page, where the counters behind ru_maxrss are some dozens of pages late.
 */
static inline size_t resident_kib(void)
{
	char text[1024] = "";
	const char *line;
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	line = n > 0 ? strstr(text, "\nRss:") : NULL;
	return line ? strtoul(line + strlen("\nRss:"), NULL, 10) : 0;
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
