// SPDX-License-Identifier: BSD-3-Clause

#include "service.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "cache/tcache.h"
#include "elf_symbol.h"
#include "helpers.h"
#include "http.h"
#include "proc.h"
#include "sockets.h"
#include "tunables.h"

#define STACK_SIZE (256 * KIB) /* without thread-local variables, it uses 20 KiB */
#define LATER_MS 100 /* until the next try where descriptors are exhausted, or a call is refused */

enum state {
	NOT_STARTED,
	STARTING,
	READY, /* or the thread has failed to prepare what it serves */
};

static struct {
	_Atomic(uint32_t) state; /* enum state */
	_Atomic(uint32_t) thread; /* the kernel's id */
	_Atomic(bool) is_busy, is_ending; /* the thread is busy while it is not asleep */
	char path[SYS_SOCKET_PATH]; /* to serve, or empty */
	enum service_role role;
	uint64_t listen_ms; /* when to begin; 0: at the start; UINT64_MAX: not, or not again */
	int error; /* errno of what failed, or 0 */
	const char *failed; /* what that is */
	uint32_t owner; /* the process that serves path instead */
	struct sys_listener listener;
	uint64_t accept_ms; /* do not accept before */
	uint64_t background_ms; /* the next call of tcache_background */
} service;

void (*service_on_wake)(void);

static _Atomic(unsigned int) *libc_threads; /* libc's count of threads, or NULL */

/* ---- The thread ---- */

/* Begin to be busy. Does not return at exit. */
static void enter(void)
{
	atomic_store(&service.is_busy, true);
	if (!atomic_load(&service.is_ending))
		return;
	atomic_store(&service.is_busy, false);
	for (;;)
		sys_sleep(0);
}

/* Report what failed, with errno, later. Then the thread serves nothing. */
static void fail(const char *what)
{
	service.listen_ms = UINT64_MAX;
	service.error = errno;
	service.failed = what;
}

static void report_failure(void)
{
	if (!service.error)
		return;
	if (service.owner)
		sys_report("OSMEM_OPTIONS: serve: process %u serves %s", service.owner,
			   service.failed);
	else
		sys_report("OSMEM_OPTIONS: serve: %.150s: %s", service.failed,
			   sys_error_name(service.error));
	service.error = 0;
}

/*
 * libc ends the process when the last thread ends. Its count must not have this thread, or a
 * program whose main thread calls pthread_exit() never ends. libc exports the count for debuggers.
 */
static void leave_count(void)
{
	if (libc_threads)
		atomic_fetch_sub(libc_threads, 1);
}

/* A path that an ancestor serves is not to be served. */
static void begin_to_listen(void)
{
	service.listen_ms = UINT64_MAX;
	if (sys_listen(&service.listener, service.path, &service.owner))
		return;
	fail(service.path);
	if (service.owner && proc_is_ancestor(service.owner))
		service.error = 0;
}

/* Without descriptors of its own the thread must not open any. */
static int prepare(void)
{
	int wake = -1;

	leave_count();
	atomic_store(&service.thread, sys_begin_service());
	if (!service.thread)
		fail("a mask of signals");
	else if (!sys_leave_files())
		fail("descriptors of its own");
	else if ((wake = sys_open_wake()) < 0)
		fail("a descriptor for signals");
	else if (*service.path && !http_begin())
		fail("memory");
	else if (!service.listen_ms)
		begin_to_listen();
	return wake;
}

static void accept_all(uint64_t now_ms)
{
	while (http_has_room()) {
		int fd = sys_accept(&service.listener);

		if (fd >= 0) {
			http_add(fd, now_ms);
		} else if (errno != ECONNABORTED && errno != EINTR) {
			if (errno != EAGAIN)
				service.accept_ms = now_ms + LATER_MS;
			return;
		}
	}
}

/* Without a descriptor to be woken by, it wakes now and then. -1: wait for ever. */
static int wait_ms(int wake, uint64_t now_ms)
{
	uint64_t until = service.background_ms, next = http_next_ms();

	until = next < until ? next : until;
	until = service.listen_ms < until ? service.listen_ms : until;
	if (service.accept_ms > now_ms && service.accept_ms < until)
		until = service.accept_ms;
	if (until == UINT64_MAX)
		return wake < 0 ? IDLE_CHECK_MS : -1;
	return until > now_ms ? (int)(until - now_ms) : 0;
}

/* Whether it was woken. If the kernel refuses to take the signal, the descriptor is useless. */
static bool was_woken(int *wake, bool is_ready)
{
	if (sys_was_woken())
		return true;
	if (is_ready)
		*wake = -1;
	return *wake < 0;
}

/* Sleep, and then do what there is to do. */
static void turn(int *wake)
{
	struct pollfd polls[2 + CONNECTIONS] = {{.fd = *wake, .events = POLLIN},
						{.fd = -1, .events = POLLIN}};
	uint64_t now_ms = sys_now_ms();
	size_t n = http_poll(polls + 2);

	if (service.listener.fd >= 0 && http_has_room() && now_ms >= service.accept_ms)
		polls[1].fd = service.listener.fd;
	sys_poll(polls, n + 2, wait_ms(*wake, now_ms));
	enter();
	now_ms = sys_now_ms();
	if (was_woken(wake, polls[0].revents) && service_on_wake)
		service_on_wake();
	http_step(polls + 2, n, now_ms);
	if (polls[1].revents)
		accept_all(now_ms);
	if (now_ms >= service.listen_ms) {
		begin_to_listen();
		report_failure();
	}
	if (now_ms >= service.background_ms)
		service.background_ms = now_ms + tcache_background();
	atomic_store(&service.is_busy, false);
}

static __attribute__((noreturn)) void *run(void *unused)
{
	int wake = prepare();

	(void)unused;
	atomic_store(&service.state, READY);
	sys_wake_one(&service.state);
	for (;;)
		turn(&wake);
}

/* ---- Start ---- */

/*
 * Its stack has room for the thread-local variables of most programs. If not, libc says so. It
 * never ends, so it need not be detached. The attributes have no memory of their own.
 */
static int create(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	error = pthread_create(&thread, &attributes, run, NULL);
	return error == EINVAL ? pthread_create(&thread, NULL, run, NULL) : error;
}

/* The thread inherits the mask. pthread_sigmask leaves out the signals that libc needs. */
static int create_without_signals(void)
{
	sigset_t all, before;
	int error;

	memset(&all, 0xff, sizeof(all));
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = create();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

void service_start(const char *path, bool has_background, enum service_role role)
{
	int error;

	service.state = STARTING;
	service.listener.fd = -1;
	service.role = role;
	service.listen_ms = role != SERVICE_FIRST ? sys_now_ms() + CHILD_LISTEN_MS : 0;
	service.background_ms = has_background ? 0 : UINT64_MAX;
	if (!path) {
		service.listen_ms = UINT64_MAX;
	} else if (strlen(path) < sizeof(service.path)) {
		memcpy(service.path, path, strlen(path) + 1);
	} else {
		errno = ENAMETOOLONG;
		fail(path);
	}
	if (role == SERVICE_FIRST)
		libc_threads = elf_libc_symbol("__nptl_nthreads");
	error = create_without_signals();
	if (error) {
		service.state = READY;
		errno = error;
		fail("thread");
	}
	while (service.state == STARTING)
		sys_sleep_on(&service.state, STARTING, NAP_NS);
	report_failure();
}

bool service_wake(void)
{
	return sys_wake_service(service.thread);
}

/* ---- End ---- */

void service_remove_socket(void)
{
	if (service.listener.fd >= 0)
		sys_unlink_listener(&service.listener);
}

void service_end(void)
{
	if (service.state == NOT_STARTED || !service_wake())
		return;
	atomic_store(&service.is_ending, true);
	for (unsigned int i = 0; i < END_WAITS && atomic_load(&service.is_busy); i++)
		sys_sleep(NAP_NS);
	service_remove_socket();
}

void service_forget(void)
{
	sys_forget_service();
	http_forget();
	memset(&service, 0, sizeof(service));
	service.listener.fd = -1;
}
