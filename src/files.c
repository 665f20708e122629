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
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "helpers.h"
#include "kernel.h"
#include "printf.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif

#define KERNEL_PAGE ((uintptr_t)4096) /* the smallest one */
#define OWN_FD_MIN 500 /* programs may expect the low descriptors */

int sys_open(const char *path, int flags)
{
	return (int)CALL(openat, AT_FDCWD, path, flags | O_CLOEXEC | O_NOCTTY, 0666);
}

void sys_close(int fd)
{
	RAW(close, fd);
}

/* Duplicate fd to a high number. Returns -1 on error. */
static int copy_high(int fd)
{
	return (int)CALL(fcntl, fd, F_DUPFD_CLOEXEC, OWN_FD_MIN);
}

bool sys_read_text(const char *path, char *text, size_t size)
{
	int fd = sys_open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : CALL(read, fd, text, size - 1);

	if (fd >= 0)
		sys_close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n >= 0;
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
	int high = copy_high(fd);

	if (high < 0)
		return fd;
	CALL(close, fd);
	return high;
}

static int open_high(const char *path, int flags)
{
	int fd = sys_open(path, flags);

	return fd < 0 ? fd : move_high(fd);
}

bool sys_folder(char *path)
{
	errno = ENOENT; /* out of reach: the path begins with a remark */
	return CALL(getcwd, path, PATH_MAX) > 0 && *path == '/';
}

static bool make_absolute(char *absolute, const char *path)
{
	size_t len, room;

	*absolute = '\0';
	if (*path != '/' && !sys_folder(absolute))
		return false;
	len = strlen(absolute);
	room = PATH_MAX - len;
	errno = ENAMETOOLONG;
	return (size_t)snprintf_(absolute + len, room, "%s%s", len ? "/" : "", path) < room;
}

/* ---- Two tables of descriptors ---- */

/* The thread with a table of its own, or 0. */
static _Atomic(uint32_t) service_thread;

bool sys_leave_files(void)
{
	if (CALL(close_range, 0, UINT_MAX, CLOSE_RANGE_UNSHARE) < 0)
		return false;
	atomic_store(&service_thread, (uint32_t)RAW(gettid));
	return true;
}

void sys_forget_service(void)
{
	atomic_store(&service_thread, 0);
}

static bool is_service(void)
{
	uint32_t thread = atomic_load_explicit(&service_thread, memory_order_relaxed);

	return __builtin_expect(thread, 0) && thread == (uint32_t)RAW(gettid);
}

/*
 * A copy of the program's descriptor fd in the table of the service thread, or -1. Where the kernel
 * refuses, a terminal, a file or a pipe can be opened again, but not a socket.
 */
static int copy_of_program(int fd)
{
	int process = (int)CALL(pidfd_open, RAW(getpid), 0), copy = -1;
	char path[32];

	if (process >= 0) {
		copy = (int)CALL(pidfd_getfd, process, fd, 0);
		RAW(close, process);
	}
	if (copy >= 0)
		return copy;
	snprintf_(path, sizeof(path), "/proc/self/fd/%d", fd);
	return sys_open(path, O_WRONLY | O_APPEND | O_NONBLOCK);
}

/* Whether d is still what it was. */
static bool is_open(const struct sys_descriptor *d)
{
	struct stat st;

	return d->fd >= 0 && RAW(fstat, d->fd, &st) == 0 && st.st_dev == d->device &&
	       st.st_ino == d->inode;
}

static void close_descriptor(struct sys_descriptor *d)
{
	if (is_open(d))
		RAW(close, d->fd);
	d->fd = -1;
}

/* Remember fd and its file as d. False with errno, and d is none. */
static bool identify(int fd, struct sys_descriptor *d)
{
	struct stat st;

	d->fd = -1;
	if (fd < 0 || CALL(fstat, fd, &st) < 0)
		return false;
	*d = (struct sys_descriptor){.fd = fd, .device = st.st_dev, .inode = st.st_ino};
	return true;
}

/* ---- Standard error ---- */

static struct sys_descriptor kept_stderr = {.fd = -1};

void sys_keep_stderr(void)
{
	if (kept_stderr.fd < 0)
		identify(copy_high(STDERR_FILENO), &kept_stderr);
}

/* A copy of descriptor d of the program, or -1 if that is another file by now. */
static int copy_kept(struct sys_descriptor d)
{
	d.fd = d.fd < 0 ? -1 : copy_of_program(d.fd);
	if (d.fd < 0 || is_open(&d))
		return d.fd;
	RAW(close, d.fd);
	return -1;
}

void sys_write_stderr(const char *text, size_t len)
{
	int fd;

	if (!is_service()) {
		fd = is_open(&kept_stderr) ? kept_stderr.fd : STDERR_FILENO;
		sys_write_all(fd, text, len);
		return;
	}
	fd = copy_kept(kept_stderr);
	if (fd < 0)
		fd = copy_of_program(STDERR_FILENO);
	if (fd < 0)
		return;
	sys_write_all(fd, text, len);
	RAW(close, fd);
}

/* ---- Files ---- */

static bool is_file_open(const struct sys_file *f, const struct sys_descriptor *d)
{
	return d->device == f->device && d->inode == f->inode && is_open(d);
}

static struct sys_descriptor *descriptor_of(struct sys_file *f)
{
	return &f->at[is_service()];
}

/*
 * Reopen the file if the program has closed or reused the descriptor, or for another table than
 * before. The file lock persists while part of the file is mapped.
 */
static bool find_again(struct sys_file *f)
{
	struct sys_descriptor *d = descriptor_of(f);

	if (is_file_open(f, d))
		return true;
	close_descriptor(d); /* of the file that f was before */
	if (identify(open_high(f->path, O_RDWR), d) && is_file_open(f, d))
		return true;
	close_descriptor(d);
	return false;
}

/* Nobody owns /dev/null and its like. */
static bool is_memory_device(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && major(st->st_rdev) == 1;
}

/* Open, lock and fill in the rest of *f. False with errno. */
static bool open_locked(struct sys_file *f, const char *path, bool is_emptied)
{
	struct sys_descriptor *d = descriptor_of(f);
	struct stat st;
	int fd;

	if (!make_absolute(f->path, path))
		return false;
	fd = sys_open(f->path, O_RDWR | O_CREAT);
	if (fd < 0)
		return false;
	if (CALL(fstat, fd, &st) < 0 ||
	    (!is_memory_device(&st) && CALL(flock, fd, LOCK_EX | LOCK_NB) < 0) ||
	    (is_emptied && S_ISREG(st.st_mode) && CALL(ftruncate, fd, 0) < 0)) {
		RAW(close, fd);
		return false;
	}
	close_descriptor(d);
	identify(move_high(fd), d);
	f->device = st.st_dev;
	f->inode = st.st_ino;
	return true;
}

bool sys_file_open(struct sys_file *f, const char *path)
{
	return open_locked(f, path, true);
}

/* Whether the file that f was opened at is still f. */
static bool is_at_path(const struct sys_file *f)
{
	struct stat st;

	return CALL(newfstatat, AT_FDCWD, f->path, &st, 0) == 0 && st.st_ino == f->inode &&
	       st.st_dev == f->device;
}

bool sys_file_own(struct sys_file *f, const char *path)
{
	if (!open_locked(f, path, false))
		return false;
	if (is_at_path(f))
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
	return errno == ENOENT || errno == EACCES;
}

bool sys_file_replace(struct sys_file *f, const char *path)
{
	return CALL(renameat2, AT_FDCWD, f->path, AT_FDCWD, path, 0) == 0 &&
	       make_absolute(f->path, path);
}

void sys_file_remove(struct sys_file *f)
{
	RAW(unlinkat, AT_FDCWD, f->path, 0);
	sys_file_close(f);
}

void sys_file_close(struct sys_file *f)
{
	close_descriptor(descriptor_of(f));
}

bool sys_file_is_open(const struct sys_file *f)
{
	return is_file_open(f, &f->at[is_service()]);
}

/* What another thread has opened of f, it closes when it uses f next. */
void sys_file_become(struct sys_file *f, const struct sys_file *to)
{
	struct sys_descriptor others = f->at[!is_service()];

	sys_file_close(f);
	*f = *to;
	f->at[!is_service()] = others;
}

/* Whether the open f is a file that has been moved or removed. */
static bool is_gone(struct sys_file *f)
{
	struct stat st;

	return RAW(fstat, descriptor_of(f)->fd, &st) == 0 && S_ISREG(st.st_mode) && !is_at_path(f);
}

/* Who moves a file away keeps it as it is. Where none can be made in its place, f stays. */
void sys_file_rewind(struct sys_file *f)
{
	struct sys_file new = {0};

	if ((!find_again(f) || is_gone(f)) && open_locked(&new, f->path, true))
		sys_file_become(f, &new);
	if (!find_again(f))
		return;
	RAW(ftruncate, descriptor_of(f)->fd, 0);
	RAW(lseek, descriptor_of(f)->fd, 0, SEEK_SET);
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
	int fd;

	if (!find_again(f))
		return NULL;
	fd = descriptor_of(f)->fd;
	if (!reserve(fd, offset, size))
		return NULL;
	p = (void *)CALL(mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
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
	if (find_again(f) && CALL(ftruncate, descriptor_of(f)->fd, size) < 0)
		return; /* harmless: the file stays longer than necessary */
}

bool sys_file_append(struct sys_file *f, const void *data, size_t len)
{
	long offset;

	if (!find_again(f))
		return false;
	offset = CALL(lseek, descriptor_of(f)->fd, 0,
		      SEEK_CUR); /* fails for what is no file and has no limit */
	return (offset < 0 || is_within_limit((uint64_t)offset, len)) &&
	       sys_write_all(descriptor_of(f)->fd, data, len);
}

/* The kernel reads the set before it refuses to do an unknown thing with it. */
bool sys_is_readable(const void *p)
{
	return RAW(rt_sigprocmask, SIG_BLOCK + SIG_UNBLOCK + SIG_SETMASK, p, NULL,
		   KERNEL_MASK_SIZE) != -EFAULT;
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
