// SPDX-License-Identifier: BSD-3-Clause

/*
 * Sockets and wakeups of the service thread: sockets.h.
 *
 * 1. A socket file gets the mode of the socket, less the umask. So the mode is set before bind.
 * 2. Two processes that find the same stale socket must not both replace it. They lock its folder
 *    meanwhile, if they can.
 * 3. The service thread is woken by a signal of its own, SIGSTKFLT. It blocks the signal, and polls
 *    a signalfd. The waker needs no descriptor, so a handler can wake it although the program has
 *    closed them all. Linux never sends this signal, and no known program uses it.
 */

#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "helpers.h"
#include "kernel.h"
#include "tunables.h"

#define WAKE_SIGNAL SIGSTKFLT

/* Listening. */

static bool make_address(struct sockaddr_un *to, const char *path)
{
	size_t len = strlen(path);

	if (len >= sizeof(to->sun_path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	*to = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(to->sun_path, path, len);
	return true;
}

static int new_socket(void)
{
	return (int)CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* The credentials of the other side: for a client, of the process that listens. */
static bool get_peer(int fd, struct ucred *peer)
{
	socklen_t size = sizeof(*peer);

	return RAW(getsockopt, fd, SOL_SOCKET, SO_PEERCRED, peer, &size) == 0;
}

/* Whether address is a socket that nobody serves. Sets errno and *owner if not. */
static bool is_stale(const struct sockaddr_un *address, uint32_t *owner)
{
	struct ucred peer = {0};
	struct stat st;
	int fd;

	if (CALL(newfstatat, AT_FDCWD, address->sun_path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT;
	errno = EEXIST;
	if (!S_ISSOCK(st.st_mode))
		return false;
	fd = new_socket();
	if (fd < 0)
		return false;
	if (CALL(connect, fd, address, sizeof(*address)) < 0 && errno == ECONNREFUSED) {
		RAW(close, fd);
		return true;
	}
	if (errno != EACCES && errno != EPERM) /* connected, or its backlog is full: EAGAIN */
		errno = EADDRINUSE;
	if (get_peer(fd, &peer))
		*owner = (uint32_t)peer.pid;
	RAW(close, fd);
	return false;
}

static bool bind_to(int fd, const struct sockaddr_un *address, uint32_t *owner)
{
	if (CALL(bind, fd, address, sizeof(*address)) == 0)
		return true;
	if (errno != EADDRINUSE || !is_stale(address, owner))
		return false;
	CALL(unlinkat, AT_FDCWD, address->sun_path, 0);
	return CALL(bind, fd, address, sizeof(*address)) == 0;
}

/* Rule 2. Returns the folder, locked, or -1. */
static int lock_folder(const char *path)
{
	char folder[SYS_SOCKET_PATH];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) + 1 : 0;
	int fd;

	memcpy(folder, len ? path : "./", len ? len : 2);
	folder[len ? len : 2] = '\0';
	fd = sys_open(folder, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
	for (unsigned int i = 0; fd >= 0 && i < FOLDER_WAITS; i++) {
		if (RAW(flock, fd, LOCK_EX | LOCK_NB) == 0)
			break;
		sys_sleep(FOLDER_WAIT_NS);
	}
	return fd;
}

/* Rule 1. fd is ready to listen when its path appears, but for a moment in the locked folder. */
static bool start_listening(int fd, const struct sockaddr_un *address, uint32_t *owner)
{
	return CALL(fchmod, fd, 0600) == 0 && bind_to(fd, address, owner) &&
	       CALL(listen, fd, SOCKET_BACKLOG) == 0;
}

bool sys_listen(struct sys_listener *l, const char *path, uint32_t *owner)
{
	struct sockaddr_un address;
	int fd, folder;
	bool is_done;
	struct stat st;

	*owner = 0;
	l->fd = -1;
	if (!make_address(&address, path))
		return false;
	fd = new_socket();
	if (fd < 0)
		return false;
	folder = lock_folder(path);
	is_done = start_listening(fd, &address, owner);
	if (folder >= 0)
		RAW(close, folder);
	if (!is_done || CALL(newfstatat, AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		RAW(close, fd);
		return false;
	}
	l->device = st.st_dev;
	l->inode = st.st_ino;
	memcpy(l->path, address.sun_path, sizeof(l->path));
	l->fd = fd;
	return true;
}

void sys_unlink_listener(const struct sys_listener *l)
{
	struct stat st;

	if (RAW(newfstatat, AT_FDCWD, l->path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_dev == l->device && st.st_ino == l->inode)
		RAW(unlinkat, AT_FDCWD, l->path, 0);
}

/* Connections. */

static bool is_allowed(int fd)
{
	struct ucred peer;

	return get_peer(fd, &peer) && (peer.uid == 0 || peer.uid == (uid_t)RAW(geteuid));
}

int sys_accept(const struct sys_listener *l)
{
	int fd = (int)CALL(accept4, l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 || is_allowed(fd))
		return fd;
	RAW(close, fd);
	errno = EAGAIN;
	return -1;
}

ssize_t sys_receive(int fd, void *to, size_t size)
{
	return CALL(recvfrom, fd, to, size, MSG_DONTWAIT);
}

ssize_t sys_send(int fd, const void *from, size_t size)
{
	return CALL(sendto, fd, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A sandbox may refuse to poll; the caller must not spin then. */
void sys_poll(struct pollfd *all, size_t n, int ms)
{
	struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	_Atomic(uint32_t) never_woken = 0;

	if (CALL(ppoll, all, n, ms < 0 ? NULL : &wait) >= 0)
		return;
	if (errno != EINTR && ms)
		sys_sleep_on(&never_woken, 0, REFUSED_WAIT_NS);
	for (size_t i = 0; i < n; i++)
		all[i].revents = 0;
}

/* The service thread: rule 3. */

static const uint64_t wake_set = (uint64_t)1 << (WAKE_SIGNAL - 1);

int sys_open_wake(void)
{
	int fd;

	do {
		fd = (int)CALL(signalfd4, -1, &wake_set, KERNEL_MASK_SIZE,
			       SFD_CLOEXEC | SFD_NONBLOCK);
	} while (fd >= 0 && fd < STDERR_FILENO);
	return fd;
}

uint32_t sys_begin_service(void)
{
	static const char name[] = "osmem";

	if (CALL(rt_sigprocmask, SIG_BLOCK, &wake_set, NULL, KERNEL_MASK_SIZE) != 0)
		return 0; /* the signal that wakes the thread would end the process */
	RAW(prctl, PR_SET_NAME, name);
	RAW(prctl, PR_SET_TIMERSLACK, TIMER_SLACK_MS * 1000000ul);
	return (uint32_t)RAW(gettid);
}

bool sys_wake_service(uint32_t thread)
{
	return thread && RAW(tgkill, RAW(getpid), thread, WAKE_SIGNAL) == 0;
}

bool sys_was_woken(void)
{
	static const struct timespec now;

	return RAW(rt_sigtimedwait, &wake_set, NULL, &now, KERNEL_MASK_SIZE) == WAKE_SIGNAL;
}
