// SPDX-License-Identifier: BSD-3-Clause

/* The files that are read. gzip(1) decompresses those that are compressed. */

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heapview.h"

#define EXPANDED_MAX ((size_t)2 << 30)

/* Read from fd up to its end, or die. */
static void read_all(struct file *f, int fd, const char *path)
{
	size_t room = 1 << 20;
	char *bytes = grow(NULL, room, 1);

	for (;;) {
		ssize_t got;

		if (f->size == room) {
			if (room >= EXPANDED_MAX)
				die("%s: too large when decompressed", path);
			room *= 2;
			bytes = grow(bytes, room, 1);
		}
		got = read(fd, bytes + f->size, room - f->size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		f->size += (size_t)got;
	}
	f->bytes = bytes;
}

static void decompress(struct file *f, const char *path)
{
	char name[] = "gzip", option[] = "-dc";
	char *const argv[] = {name, option, NULL};
	posix_spawn_file_actions_t actions;
	int ends[2], status, error;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		die("%s: %s", path, strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, path, O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	error = posix_spawnp(&pid, name, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (error)
		die("%s: compressed, and gzip is not installed", path);
	read_all(f, ends[0], path);
	close(ends[0]);
	if (waitpid(pid, &status, 0) != pid || status)
		die("%s: gzip cannot decompress it", path);
}

void file_open(struct file *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	*f = (struct file){0};
	if (fd < 0 || fstat(fd, &st) < 0)
		die("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !st.st_size)
		die("%s: not an osmem trace or map, nor a profile", path);
	f->size = (size_t)st.st_size;
	f->bytes = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (f->bytes == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	if (f->size < 2 || memcmp(f->bytes, "\x1f\x8b", 2) != 0)
		return;
	*f = (struct file){0};
	decompress(f, path);
}
