// SPDX-License-Identifier: BSD-3-Clause

#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>

#include "helpers.h"
#include "kernel.h"
#include "lock.h"
#include "printf.h"

#define BUFFER_SIZE 1024
#define PATH_SIZE 48
#define SELF "/proc/thread-self/" /* that of /proc/self is empty if the main thread has ended */
#define PF_IO_WORKER 0x10 /* linux/sched.h: a thread of io_uring */

/* A text that is read from its start to its end. */
struct reader {
	int fd;
	int failed; /* errno of a read */
	size_t at, len;
	char buffer[BUFFER_SIZE];
};

/* The next character, or -1 at the end. */
static int next_char(struct reader *r)
{
	ssize_t n;

	if (r->at == r->len) {
		do
			n = RAW(read, r->fd, r->buffer, sizeof(r->buffer));
		while (n == -EINTR);
		if (n <= 0) {
			r->failed = n < 0 ? (int)-n : 0;
			return -1;
		}
		r->at = 0;
		r->len = (size_t)n;
	}
	return (unsigned char)r->buffer[r->at++];
}

static void skip_to(struct reader *r, int end)
{
	int c;

	while ((c = next_char(r)) >= 0 && c != end)
		;
}

/* A hexadecimal number, and the character behind it. */
static uintptr_t read_hex(struct reader *r)
{
	uintptr_t n = 0;
	int c;

	while ((c = next_char(r)) >= 0) {
		if (c >= '0' && c <= '9')
			n = n << 4 | (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			n = n << 4 | (uintptr_t)(c - 'a' + 10);
		else
			break;
	}
	return n;
}

/* The rest of the line, behind spaces. */
static void read_name(struct reader *r, char *name)
{
	size_t n = 0;
	int c;

	while ((c = next_char(r)) >= 0 && c != '\n')
		if ((n || c != ' ') && n < PROC_NAME - 1)
			name[n++] = (char)c;
	name[n] = '\0';
}

/* "START-END rwxp OFFSET DEVICE INODE   NAME". False at the end. */
static bool read_mapping(struct reader *r, struct proc_mapping *m)
{
	m->start = read_hex(r);
	m->end = read_hex(r);
	if (!m->end)
		return false;
	m->is_readable = next_char(r) == 'r';
	m->is_writable = next_char(r) == 'w';
	next_char(r);
	m->is_shared = next_char(r) == 's';
	next_char(r);
	for (int i = 0; i < 3; i++) /* the offset, the device, the inode */
		skip_to(r, ' ');
	read_name(r, m->name);
	return true;
}

bool proc_each_mapping(void (*visit)(const struct proc_mapping *m, void *arg), void *arg)
{
	struct reader r = {.fd = sys_open(SELF "maps", O_RDONLY)};
	struct proc_mapping m;

	if (r.fd < 0)
		return false;
	while (read_mapping(&r, &m))
		visit(&m, arg);
	sys_close(r.fd);
	errno = r.failed;
	return !r.failed;
}

/* The number at the start of a text. */
static uint32_t read_decimal(const char *at)
{
	uint32_t n = 0;

	for (; *at >= '0' && *at <= '9'; at++)
		n = 10 * n + (uint32_t)(*at - '0');
	return n;
}

/* An entry of a folder, as getdents64(2) writes it. */
struct entry {
	uint64_t inode, offset;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

bool proc_each_thread(void (*visit)(uint32_t id, void *arg), void *arg)
{
	_Alignas(struct entry) char buffer[BUFFER_SIZE];
	int fd = sys_open("/proc/self/task", O_RDONLY | O_DIRECTORY);
	ssize_t n = 0;

	if (fd < 0)
		return false;
	while ((n = RAW(getdents64, fd, buffer, sizeof(buffer))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(const void *)(buffer + at);
			uint32_t id = read_decimal(e->name);

			if (id)
				visit(id, arg);
			at += e->bytes;
		}
	}
	sys_close(fd);
	errno = (int)-n;
	return n == 0;
}

static void count_thread(uint32_t id, void *arg)
{
	(void)id;
	++*(unsigned int *)arg;
}

bool proc_has_threads(void)
{
	unsigned int count = 0;

	if (lock_is_needed() || COMPAT_KNOWS_THREADS)
		return lock_is_needed();
	return !proc_each_thread(count_thread, &count) || count != 1;
}

/* "ID (NAME) STATE PARENT GROUP SESSION TERMINAL GROUP FLAGS …"; NAME may have any characters. */
enum stat_field {
	STAT_PARENT = 2, /* spaces behind the name */
	STAT_FLAGS = 7,
};

/* Read a field of a file of this format. 0 with errno if it cannot be read. */
static uint32_t read_stat(const char *path, enum stat_field field, char *state)
{
	char stat[512], *at;

	*state = '\0';
	if (!sys_read_text(path, stat, sizeof(stat)))
		return 0;
	errno = EINVAL;
	at = strrchr(stat, ')');
	if (!at || strlen(at) < 4)
		return 0;
	*state = at[2];
	for (unsigned int spaces = 0; *at && spaces < field; at++)
		spaces += *at == ' ';
	return read_decimal(at);
}

bool proc_thread_is_alive(uint32_t id)
{
	char path[PATH_SIZE], state;
	uint32_t flags;

	snprintf_(path, sizeof(path), "/proc/self/task/%u/stat", (unsigned int)id);
	flags = read_stat(path, STAT_FLAGS, &state);
	if (!state)
		return errno != ENOENT && errno != ESRCH && errno != EINVAL;
	return state != 'Z' && state != 'X' && !(flags & PF_IO_WORKER);
}

/* 0: it has none, or is unknown. */
static uint32_t parent_of(uint32_t process)
{
	char path[PATH_SIZE], state;

	snprintf_(path, sizeof(path), "/proc/%u/stat", (unsigned int)process);
	return read_stat(path, STAT_PARENT, &state);
}

bool proc_is_ancestor(uint32_t process)
{
	uint32_t at = sys_process();

	while (at && at != process)
		at = parent_of(at);
	return at;
}

int proc_open_pages(void)
{
	return sys_open(SELF "pagemap", O_RDONLY);
}

size_t proc_read_pages(int fd, uintptr_t p, uint64_t *entries, size_t n)
{
	ssize_t got = RAW(pread64, fd, entries, n * sizeof(*entries),
			  p / sys_page_size() * sizeof(*entries));

	return got < 0 ? 0 : (size_t)got / sizeof(*entries);
}
