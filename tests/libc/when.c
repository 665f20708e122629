// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * When and where a program may allocate: before main, in handlers at its end, in threads of every
 * kind. What must be the first call of a process runs in this program's own constructor, in a fresh
 * execution of it that run_first starts.
 */

#include "libc_common.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#include "osmem.h"

extern char **environ;

#define EXIT_GOOD 42

/* ---- The first call of a process ---- */

static bool first_malloc(void)
{
	void *p = malloc(100);

	return p && is_aligned(p, 16);
}

static bool first_calloc(void)
{
	char *p = calloc(100, 100);

	return p && is_zero(p, 10000);
}

static bool first_realloc(void)
{
	return realloc(NULL, 100) != NULL;
}

static bool first_reallocarray(void)
{
	return reallocarray(NULL, 10, 10) != NULL;
}

static bool first_aligned_alloc(void)
{
	return is_aligned(aligned_alloc(65536, 100), 65536);
}

static bool first_memalign(void)
{
	return is_aligned(memalign(1 << 20, 100), 1 << 20);
}

static bool first_posix_memalign(void)
{
	void *p = NULL;

	return posix_memalign(&p, 256, 100) == 0 && p && is_aligned(p, 256);
}

static bool first_valloc(void)
{
	void *p = valloc(100);

	return p && is_aligned(p, (size_t)sysconf(_SC_PAGESIZE));
}

static bool first_pvalloc(void)
{
	void *p = pvalloc(100);

	return p && is_aligned(p, (size_t)sysconf(_SC_PAGESIZE)) && malloc_usable_size(p) >= 4096;
}

static bool first_pvalloc_of_nothing(void)
{
	return pvalloc(0) != NULL;
}

static bool first_big(void)
{
	char *p = malloc(100 * MIB);

	if (p)
		p[100 * MIB - 1] = 1;
	return p != NULL;
}

static bool first_failure(void)
{
	volatile size_t size = PTRDIFF_MAX;

	return malloc(size) == NULL && errno == ENOMEM && malloc(10);
}

static bool first_free(void)
{
	free(NULL);
	return true;
}

static bool first_usable_size(void)
{
	return malloc_usable_size(NULL) == 0;
}

static bool first_trim(void)
{
	int gave = malloc_trim(0);

	return gave == 0 || gave == 1;
}

static bool first_mallopt(void)
{
	return mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1;
}

static bool first_mallinfo2(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.arena == info.uordblks + info.fordblks;
}

static bool first_malloc_info(void)
{
	return malloc_info(0, stdout) == 0;
}

static bool first_os_malloc(void)
{
	return os_malloc(100) != NULL && malloc(100);
}

/* Starting threads is the first thing done; they all run into the first allocation together. */
static pthread_barrier_t barrier;

static void *allocate_at_the_barrier(void *arg)
{
	(void)arg;
	pthread_barrier_wait(&barrier);
	for (size_t size = 1; size < 100000; size += size / 3 + 1) {
		void *p = malloc(size);

		if (!p)
			return NULL;
		fill(p, size, (unsigned int)size);
		if (!is_filled(p, size, (unsigned int)size))
			return NULL;
		free(p);
	}
	return malloc(100);
}

static bool first_in_threads(void)
{
	enum {
		THREADS = 8
	};
	pthread_t threads[THREADS];
	void *got;
	bool good = true;

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, allocate_at_the_barrier, NULL))
			return false;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &got);
		good = good && got;
		free(got);
	}
	return good;
}

static const struct {
	const char *name;
	bool (*call)(void);
} firsts[] = {
	{"malloc", first_malloc},
	{"calloc", first_calloc},
	{"realloc", first_realloc},
	{"reallocarray", first_reallocarray},
	{"aligned_alloc", first_aligned_alloc},
	{"memalign", first_memalign},
	{"posix_memalign", first_posix_memalign},
	{"valloc", first_valloc},
	{"pvalloc", first_pvalloc},
	{"pvalloc(0)", first_pvalloc_of_nothing},
	{"malloc of 100 MiB", first_big},
	{"malloc that fails", first_failure},
	{"free(NULL)", first_free},
	{"malloc_usable_size(NULL)", first_usable_size},
	{"malloc_trim", first_trim},
	{"mallopt", first_mallopt},
	{"mallinfo2", first_mallinfo2},
	{"malloc_info", first_malloc_info},
	{"os_malloc", first_os_malloc},
	{"in threads", first_in_threads},
};

static char *early; /* allocated by a constructor, used by a test */

/* Before main, and before the constructors of the tests. */
__attribute__((constructor(200))) static void first_call(void)
{
	const char *wanted = getenv("OSMEM_TEST_FIRST");

	for (size_t i = 0; wanted && i < COUNT_OF(firsts); i++)
		if (!strcmp(wanted, firsts[i].name))
			_exit(firsts[i].call() ? EXIT_GOOD : 1);
	early = malloc(1000);
	fill(early, 1000, 17);
}

static void run_first(const char *name)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		char *const argv[] = {(char *)"first", NULL};
		int null = open("/dev/null", O_WRONLY);

		setenv("OSMEM_TEST_FIRST", name, 1);
		dup2(null, STDOUT_FILENO);
		execve(program_invocation_name, argv, environ);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_GOOD, "%s: wait status %#x",
		  name, status);
}

TEST(any_call_may_be_the_first)
{
	for (size_t i = 0; i < COUNT_OF(firsts); i++)
		run_first(firsts[i].name);
}

TEST(constructors_may_allocate)
{
	CHECK(early && is_filled(early, 1000, 17));
	early = realloc(early, 100000);
	CHECK(early && is_filled(early, 1000, 17));
	free(early);
}

/* ---- The end of a process ---- */

static char *late;

static void use_and_leave(void)
{
	late = realloc(late, 200000);
	if (!late || !is_filled(late, 1000, 3))
		_exit(1);
	free(late);
	late = malloc(100);
	_exit(late ? EXIT_GOOD : 1);
}

static void exit_through_handlers(void *arg)
{
	(void)arg;
	late = malloc(1000);
	fill(late, 1000, 3);
	CHECK(atexit(use_and_leave) == 0);
	exit(1);
}

TEST(atexit_handlers_may_allocate)
{
	char err[256];
	int status = test_in_child(exit_through_handlers, NULL, err, sizeof(err));

	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_GOOD, "%#x %s", status, err);
}

/* Runs after the library's own destructors, if it has any, would have: priority 101 is the last. */
static bool is_leaving;

__attribute__((destructor(101))) static void last_destructor(void)
{
	void *p;

	if (!is_leaving)
		return;
	p = realloc(malloc(100), 1 << 20);
	free(p);
	_exit(p ? EXIT_GOOD : 1);
}

static void leave(void *arg)
{
	(void)arg;
	is_leaving = true;
	exit(1);
}

TEST(destructors_may_allocate)
{
	char err[256];
	int status = test_in_child(leave, NULL, err, sizeof(err));

	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_GOOD, "%#x %s", status, err);
}

/* Other threads go on allocating while the process leaves. */
static void *allocate_for_ever(void *arg)
{
	for (size_t i = 0;; i++)
		free(malloc(i % 3000 + (size_t)arg));
	return NULL;
}

static void leave_under_load(void *arg)
{
	pthread_t thread;

	(void)arg;
	for (size_t i = 0; i < 4; i++)
		CHECK(pthread_create(&thread, NULL, allocate_for_ever, (void *)(i * 100)) == 0);
	sleep_ms(2);
	exit(EXIT_GOOD);
}

TEST(exit_while_threads_allocate)
{
	for (int i = 0; i < 50; i++) {
		char err[256];
		int status = test_in_child(leave_under_load, NULL, err, sizeof(err));

		CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_GOOD, "%#x %s", status,
			  err);
	}
}

/* ---- The end of a thread ---- */

static pthread_key_t key;
static int rounds; /* destructor calls so far */
static __thread char *per_thread;

/* Asks to be called again as long as the C library allows. */
static void allocate_at_thread_end(void *value)
{
	free(value);
	free(per_thread);
	per_thread = malloc(5000);
	CHECK(per_thread != NULL);
	fill(per_thread, 5000, 1);
	rounds++;
	CHECK(pthread_setspecific(key, malloc(200)) == 0);
}

static void *set_key(void *arg)
{
	(void)arg;
	CHECK(pthread_setspecific(key, malloc(100)) == 0);
	return malloc(10);
}

TEST(key_destructors_may_allocate)
{
	void *got;

	CHECK(pthread_key_create(&key, allocate_at_thread_end) == 0);
	for (int i = 0; i < 100; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, set_key, NULL) == 0);
		CHECK(pthread_join(thread, &got) == 0 && got);
		free(got);
	}
	CHECK(rounds >= 100 * 4);
}

/*
 * What thread_local objects of C++ use, where the C library has it; it may run before or after the
 * destructors of keys.
 */
int __cxa_thread_atexit_impl(void (*function)(void *), void *object, void *dso)
	__attribute__((weak));
extern void *__dso_handle;

static int cxx_rounds;

static void allocate_at_cxx_thread_end(void *object)
{
	CHECK(is_filled(object, 300, 9));
	object = realloc(object, 30000);
	CHECK(object && is_filled(object, 300, 9));
	free(object);
	cxx_rounds++;
}

static void *set_cxx_destructor(void *arg)
{
	void *object = malloc(300);

	CHECK(object != NULL);
	fill(object, 300, 9);
	__cxa_thread_atexit_impl(allocate_at_cxx_thread_end, object, &__dso_handle);
	return arg;
}

TEST(thread_local_destructors_may_allocate)
{
	if (!__cxa_thread_atexit_impl)
		test_skip("the C library has no __cxa_thread_atexit_impl");
	for (int i = 0; i < 100; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, set_cxx_destructor, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	CHECK(cxx_rounds == 100);
}

static void *end_while_cancelled(void *arg)
{
	char *p = malloc(100);

	pthread_cleanup_push(free, p);
	for (;;)
		pause();
	pthread_cleanup_pop(1);
	return arg;
}

TEST(cancelled_threads)
{
	for (int i = 0; i < 100; i++) {
		pthread_t thread;
		void *got;

		CHECK(pthread_create(&thread, NULL, end_while_cancelled, NULL) == 0);
		CHECK(pthread_cancel(thread) == 0);
		CHECK(pthread_join(thread, &got) == 0 && got == PTHREAD_CANCELED);
	}
}

/* ---- Threads that know each other's memory ---- */

enum {
	HANDED = 2000
};

static void *fill_and_leave(void *arg)
{
	void **blocks = arg;

	for (size_t i = 0; i < HANDED; i++) {
		blocks[i] = malloc(i * 7);
		CHECK(blocks[i] != NULL);
		fill(blocks[i], i * 7, (unsigned int)i);
	}
	return NULL;
}

static void *check_and_free(void *arg)
{
	void **blocks = arg;

	for (size_t i = 0; i < HANDED; i++) {
		CHECK(is_filled(blocks[i], i * 7, (unsigned int)i));
		if (i % 2)
			blocks[i] = realloc(blocks[i], i * 9 + 1);
		CHECK(blocks[i] && is_filled(blocks[i], i * 7, (unsigned int)i));
		free(blocks[i]);
	}
	return NULL;
}

TEST(memory_outlives_its_thread_and_is_freed_by_another)
{
	static void *blocks[HANDED];

	for (int round = 0; round < 10; round++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, fill_and_leave, blocks) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		if (round % 2) {
			check_and_free(blocks);
			continue;
		}
		CHECK(pthread_create(&thread, NULL, check_and_free, blocks) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
}

/* Every thread takes blocks out of a shared table, checks them, and puts others in. */
struct cookie {
	size_t size;
	unsigned int seed;
	unsigned char bytes[];
};

static struct cookie *table[512];

static struct cookie *bake(uint64_t *state)
{
	size_t size = random_next(state) % ((size_t)16 << random_next(state) % 14);
	struct cookie *cookie = malloc(sizeof(*cookie) + size);

	CHECK(cookie != NULL);
	cookie->size = size;
	cookie->seed = (unsigned int)random_next(state);
	fill(cookie->bytes, size, cookie->seed);
	return cookie;
}

static void *exchange(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	for (int i = 0; i < 30000; i++) {
		struct cookie **place = &table[random_next(&state) % COUNT_OF(table)];
		struct cookie *old = __atomic_exchange_n(place, bake(&state), __ATOMIC_ACQ_REL);

		if (old)
			CHECK(is_filled(old->bytes, old->size, old->seed));
		free(old);
	}
	return NULL;
}

TEST(blocks_go_round_between_threads)
{
	pthread_t threads[6];

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(threads); i++)
			CHECK(!pthread_create(&threads[i], NULL, exchange, (void *)(i + 1)));
		for (size_t i = 0; i < COUNT_OF(threads); i++)
			CHECK(!pthread_join(threads[i], NULL));
	}
	for (size_t i = 0; i < COUNT_OF(table); i++)
		free(table[i]);
}

/* A task of the kernel that libc knows nothing of, in the same memory; the caller waits for it. */
static int allocate_in_clone(void *arg)
{
	void **got = arg;

	*got = malloc(1000);
	free(malloc(100000));
	_exit(0);
}

TEST(clone_that_shares_memory)
{
	char *stack = malloc(256 * KIB);
	void *got = NULL;

	CHECK(stack != NULL);
	for (int i = 0; i < 100; i++) {
		int status, flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
		pid_t pid = clone(allocate_in_clone, stack + 256 * KIB, flags, &got);

		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
		CHECK(got != NULL);
		free(got);
	}
	free(stack);
}

/* ---- dlopen ---- */

TEST(dlopen_and_dlclose)
{
	static const char *const names[] = {"libm.so.6", "libz.so.1", "libstdc++.so.6",
					    "libgcc_s.so.1"};

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < COUNT_OF(names); i++) {
			void *library = dlopen(names[i], RTLD_NOW);

			if (library)
				dlclose(library);
		}
		CHECK(!dlopen("/nowhere/libnothing.so", RTLD_NOW));
		CHECK(dlerror() != NULL);
	}
}
