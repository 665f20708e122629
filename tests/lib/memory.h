/* SPDX-License-Identifier: BSD-3-Clause */

/* Memory of the process and the machine. Nothing here allocates. */

#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

/* The bytes that /proc/self/status has in the line of that name. */
static inline size_t status_bytes(const char *name)
{
	char text[4096] = "";
	const char *line = NULL;
	int fd = open("/proc/self/status", O_RDONLY);

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		line = strstr(text, name);
	if (!line)
		test_fail(__FILE__, __LINE__, "cannot read /proc/self/status");
	close(fd);
	return strtoul(line + strlen(name), NULL, 10) * KIB;
}

/* The memory the machine could still give, in bytes. */
static inline size_t available_bytes(void)
{
	char text[4096] = "";
	int fd = open("/proc/meminfo", O_RDONLY);
	char *line;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return 0;
	close(fd);
	line = strstr(text, "MemAvailable:");
	return line ? strtoul(line + 13, NULL, 10) * KIB : 0;
}
