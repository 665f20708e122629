/* SPDX-License-Identifier: BSD-3-Clause */

/* What a process can say of its own memory without allocating any. */

#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
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
