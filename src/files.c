// SPDX-License-Identifier: BSD-3-Clause

/* Files of traces and maps: sys_file_* of helpers.h; and what else only options need. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "helpers.h"
#include "kernel.h"
#include "printf.h"

#define KERNEL_PAGE ((uintptr_t)4096) /* the smallest one */
#define OWN_FD_MIN 500 /* programs may expect the low descriptors */

int sys_open(const char *path, int flags)
{
	return (int)CALL(openat, AT_FDCWD, path, flags | O_CLOEXEC | O_NOCTTY, 0666);
}

int sys_copy_high(int fd)
{
	return (int)CALL(fcntl, fd, F_DUPFD_CLOEXEC, OWN_FD_MIN);
}

bool sys_write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = CALL(write, fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

/* Move fd to a high number if possible. */
static int move_high(int fd)
{
	int high = sys_copy_high(fd);

	if (high < 0)
		return fd;
	CALL(close, fd);
	return high;
}

static bool make_absolute(char *absolute, const char *path)
{
	size_t len, room;

	*absolute = '\0';
	if (*path != '/' && !getcwd(absolute, PATH_MAX - 1))
		return false;
	len = strlen(absolute);
	room = PATH_MAX - len;
	errno = ENAMETOOLONG;
	return (size_t)snprintf_(absolute + len, room, "%s%s", len ? "/" : "", path) < room;
}

static bool is_same_file(const struct sys_file *f, int fd)
{
	struct stat st;

	return fd >= 0 && RAW(fstat, fd, &st) == 0 && st.st_dev == f->device &&
	       st.st_ino == f->inode;
}

/*
 * Reopen the file if the program has closed or reused the descriptor. The file lock persists while
 * part of the file is mapped.
 */
static bool find_again(struct sys_file *f)
{
	int fd;

	if (is_same_file(f, f->fd))
		return true;
	fd = sys_open(f->path, O_RDWR);
	if (!is_same_file(f, fd)) {
		if (fd >= 0)
			CALL(close, fd);
		f->fd = -1;
		return false;
	}
	f->fd = move_high(fd);
	return true;
}

/* Open, lock and fill in the rest of *f. False with errno. */
static bool open_locked(struct sys_file *f, const char *path, bool is_emptied)
{
	struct stat st;
	int fd;

	if (!make_absolute(f->path, path))
		return false;
	fd = sys_open(f->path, O_RDWR | O_CREAT);
	if (fd < 0)
		return false;
	if (CALL(flock, fd, LOCK_EX | LOCK_NB) < 0 || CALL(fstat, fd, &st) < 0 ||
	    (is_emptied && S_ISREG(st.st_mode) && CALL(ftruncate, fd, 0) < 0)) {
		RAW(close, fd);
		return false;
	}
	f->fd = move_high(fd);
	f->device = st.st_dev;
	f->inode = st.st_ino;
	return true;
}

bool sys_file_open(struct sys_file *f, const char *path)
{
	return open_locked(f, path, true);
}

bool sys_file_own(struct sys_file *f, const char *path)
{
	struct stat st;

	if (!open_locked(f, path, false))
		return false;
	if (CALL(newfstatat, AT_FDCWD, f->path, &st, 0) == 0 && st.st_ino == f->inode &&
	    st.st_dev == f->device)
		return true;
	sys_file_close(f); /* its owner has just replaced it */
	errno = EWOULDBLOCK;
	return false;
}

bool sys_file_is_replaceable(const char *path)
{
	struct stat st;

	if (CALL(newfstatat, AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISREG(st.st_mode);
	return errno == ENOENT;
}

bool sys_file_replace(struct sys_file *f, const char *path)
{
	return CALL(rename, f->path, path) == 0 && make_absolute(f->path, path);
}

void sys_file_remove(struct sys_file *f)
{
	RAW(unlink, f->path);
	sys_file_close(f);
}

void sys_file_close(struct sys_file *f)
{
	if (is_same_file(f, f->fd))
		RAW(close, f->fd);
	f->fd = -1;
}

/* Exceeding RLIMIT_FSIZE kills the program. False with errno. */
static bool is_within_limit(uint64_t offset, size_t size)
{
	struct rlimit limit;

	if (CALL(prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) < 0 || offset + size <= limit.rlim_cur)
		return true;
	errno = EFBIG;
	return false;
}

/* Allocate the range on the disk. */
static bool reserve(int fd, uint64_t offset, size_t size)
{
	static const char zeroes[4096];

	if (!is_within_limit(offset, size))
		return false;
	if (CALL(fallocate, fd, 0, offset, size) == 0)
		return true;
	if (errno != EOPNOTSUPP)
		return false;
	for (size_t done = 0; done < size; done += sizeof(zeroes))
		if (CALL(pwrite64, fd, zeroes, sizeof(zeroes), offset + done) !=
		    (ssize_t)sizeof(zeroes))
			return false;
	return true;
}

void *sys_file_map(struct sys_file *f, uint64_t offset, size_t size)
{
	void *p;

	if (!find_again(f) || !reserve(f->fd, offset, size))
		return NULL;
	p = (void *)CALL(mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, offset);
	return p == MAP_FAILED ? NULL : p;
}

void sys_file_unmap(void *p, size_t size)
{
	CALL(munmap, p, size);
}

void sys_file_release(void *p, size_t size)
{
	CALL(madvise, p, size, MADV_DONTNEED);
}

void sys_file_cut(struct sys_file *f, uint64_t size)
{
	if (find_again(f) && CALL(ftruncate, f->fd, size) < 0)
		return; /* harmless: the file stays longer than necessary */
}

bool sys_file_append(struct sys_file *f, const void *data, size_t len)
{
	long offset;

	if (!find_again(f))
		return false;
	offset = CALL(lseek, f->fd, 0, SEEK_CUR); /* fails for what is no file and has no limit */
	return (offset < 0 || is_within_limit((uint64_t)offset, len)) &&
	       sys_write_all(f->fd, data, len);
}

/* The kernel reads the set before it refuses to do an unknown thing with it. */
bool sys_is_readable(const void *p)
{
	return RAW(rt_sigprocmask, SIG_BLOCK + SIG_UNBLOCK + SIG_SETMASK, p, NULL, 8) != -EFAULT;
}

/*
 * The kernel tells where the caller would crash. If a system call filter keeps it from that, only a
 * moment is left in which the memory may go.
 */
bool sys_copy(void *to, const void *from, size_t size)
{
	struct iovec here = {.iov_base = to, .iov_len = size};
	struct iovec there = {.iov_base = (void *)(uintptr_t)from, .iov_len = size};
	long n = RAW(process_vm_readv, RAW(getpid), &here, 1, &there, 1);
	uintptr_t page = (uintptr_t)from & -KERNEL_PAGE;

	if (n != -EPERM && n != -ENOSYS)
		return n == (long)size;
	for (; page < (uintptr_t)from + size; page += KERNEL_PAGE)
		if (!sys_is_readable((const void *)page))
			return false;
	memcpy(to, from, size);
	return true;
}

bool sys_read_program(uint64_t offset, void *to, size_t size)
{
	int fd = sys_open("/proc/self/exe", O_RDONLY);
	bool is_read = fd >= 0 && RAW(pread64, fd, to, size, offset) == (long)size;

	if (fd >= 0)
		RAW(close, fd);
	return is_read;
}
