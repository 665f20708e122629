// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Reports of faults in guarded blocks, and of calls with a pointer to one that is wrong. */

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "guard_common.h"

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

#define SAID (16 * KIB)

static volatile char sink;

static unsigned int thread_id(void)
{
	return (unsigned int)syscall(SYS_gettid);
}

static __attribute__((noinline)) void read_byte(void *p)
{
	sink = *(volatile char *)p;
}

static __attribute__((noinline)) void write_byte(void *p)
{
	*(volatile char *)p = 1;
}

/* The line that begins with text, or NULL; its end is cut off. */
static char *line_of(const char *said, const char *text)
{
	static char line[512];
	const char *at = strstr(said, text);

	if (!at || (at != said && at[-1] != '\n'))
		return NULL;
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
	return line;
}

static void expect_first_line(const char *said, const char *want)
{
	size_t len = strcspn(said, "\n");

	CHECK_MSG(strlen(want) == len && memcmp(said, want, len) == 0, "said \"%.*s\", not \"%s\"",
		  (int)len, said, want);
}

/* Line what names this process's thread, and frames follow. */
static void expect_stack(const char *said, const char *what, unsigned int thread)
{
	char want[128], *line = line_of(said, what);
	const char *frames;

	snprintf(want, sizeof(want), "%s in thread %u:", what, thread);
	CHECK_MSG(line && strcmp(line, want) == 0, "\"%s\" is not in: %s", want, said);
	frames = strchr(strstr(said, what), '\n') + 1;
	CHECK_MSG(strncmp(frames, "osmem:   #0 ", 12) == 0, "no frames: %s", said);
}

/* The first frame of the access is in function. */
static void expect_access_in(const char *said, void (*function)(void *p))
{
	extern const char __ehdr_start[];
	const char *frame = strstr(said, "osmem:   #0 ");
	size_t offset = (size_t)((uintptr_t)function - (uintptr_t)__ehdr_start), at;

	frame = frame ? strchr(frame, '+') : NULL;
	CHECK_MSG(frame, "no frame: %s", said);
	at = strtoul(frame + 1, NULL, 16);
	CHECK_MSG(at >= offset && at < offset + 64, "at %zx, not in %zx: %s", at, offset, said);
}

/* access(p) must end a child by SIGSEGV after a report whose first line is this. */
__attribute__((format(printf, 3, 4))) static void expect_fault(void (*access)(void *p), void *p,
							       const char *format, ...)
{
	static char said[SAID];
	char want[256];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(want, sizeof(want), format, args);
	va_end(args);
	status = test_in_child(access, p, said, sizeof(said));
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "it %s: %s",
		  test_ending(status), said);
	expect_first_line(said, want);
	expect_access_in(said, access);
	expect_stack(said, "osmem: the block was allocated", thread_id());
	if (strstr(want, "freed"))
		expect_stack(said, "osmem: the block was freed", thread_id());
	else
		CHECK(!strstr(said, "was freed"));
}

TEST(use_after_free)
{
	static const size_t at[] = {0, 5, 31};
	char *p, *q;

	guards_begin();
	p = guarded(32);
	q = guarded_at(false, 5000);
	free(p);
	free(q);
	for (size_t i = 0; i < COUNT_OF(at); i++) {
		expect_fault(read_byte, p + at[i],
			     "osmem: use after free: a read at %p, byte %zu of a freed block of 32 "
			     "bytes at %p",
			     p + at[i], at[i] + 1, p);
		expect_fault(write_byte, p + at[i],
			     "osmem: use after free: a write at %p, byte %zu of a freed block of "
			     "32 bytes at %p",
			     p + at[i], at[i] + 1, p);
	}
	expect_fault(write_byte, q + 5003,
		     "osmem: use after free: a write at %p, byte 4 behind a freed block of 5000 "
		     "bytes at %p",
		     q + 5003, q);
	expect_fault(write_byte, q - 3,
		     "osmem: use after free: a write at %p, byte 3 before a freed block of 5000 "
		     "bytes at %p",
		     q - 3, q);
}

TEST(overflow_and_underflow)
{
	static const size_t beyond[] = {1, 7, 16, 2000};
	char *right, *left;

	guards_begin();
	right = guarded_at(true, 48);
	left = guarded_at(false, 48);
	for (size_t i = 0; i < COUNT_OF(beyond); i++) {
		char *at = right + 47 + beyond[i];

		expect_fault(write_byte, at,
			     "osmem: overflow: a write at %p, byte %zu behind a block of 48 bytes "
			     "at %p",
			     at, beyond[i], right);
		at = left - beyond[i];
		expect_fault(read_byte, at,
			     "osmem: underflow: a read at %p, byte %zu before a block of 48 bytes "
			     "at %p",
			     at, beyond[i], left);
	}
}

/* A block of no bytes is accessible, for it has a page: what is written is seen by free. */
TEST(between_two_blocks_the_nearest_is_meant)
{
	char *a, *b;

	guards_begin();
	for (;;) {
		a = guarded(16);
		b = guarded(16);
		if (is_right(a) && !is_right(b) &&
		    guard_slot_index((uintptr_t)b) == guard_slot_index((uintptr_t)a) + 1)
			break;
		free(a);
		free(b);
	}
	expect_fault(read_byte, a + 16 + 100,
		     "osmem: overflow: a read at %p, byte 101 behind a block of 16 bytes at %p",
		     a + 116, a);
	expect_fault(read_byte, b - 100,
		     "osmem: underflow: a read at %p, byte 100 before a block of 16 bytes at %p",
		     b - 100, b);
}

/* A slot that was never used: nothing is known, and nothing is said. */
static void fault_in_unused(void *unused)
{
	(void)unused;
	read_byte((void *)guard_slot_start(40));
}

static void *volatile nowhere;

static void fault_elsewhere(void *unused)
{
	(void)unused;
	read_byte(nowhere);
}

TEST(other_faults_are_not_reported)
{
	char said[SAID];
	int status;

	guards_begin();
	status = test_in_child(fault_in_unused, NULL, said, sizeof(said));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && !*said);
	status = test_in_child(fault_elsewhere, NULL, said, sizeof(said));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && !*said);
}

/* ---- Threads ---- */

static void *free_it(void *p)
{
	static unsigned int id;

	id = thread_id();
	free(p);
	return &id;
}

TEST(threads_are_named)
{
	static char said[SAID];
	char *p;
	pthread_t thread;
	void *id;
	int status;

	guards_begin();
	p = guarded(100);
	CHECK(pthread_create(&thread, NULL, free_it, p) == 0 && pthread_join(thread, &id) == 0);
	status = test_in_child(read_byte, p, said, sizeof(said));
	CHECK(WIFSIGNALED(status));
	expect_stack(said, "osmem: the block was allocated", thread_id());
	expect_stack(said, "osmem: the block was freed", *(unsigned int *)id);
}

#define FAULTING 16

static _Thread_local sigjmp_buf back;
static pthread_barrier_t barrier;

static void jump_back(int signal)
{
	(void)signal;
	siglongjmp(back, 1);
}

static void *fault_and_go_on(void *p)
{
	pthread_barrier_wait(&barrier);
	for (volatile int i = 0; i < 3; i++) /* reported once */
		if (!sigsetjmp(back, 1))
			read_byte(p);
	return NULL;
}

static void fault_in_threads(void *blocks)
{
	pthread_t threads[FAULTING];
	char **p = blocks;

	signal(SIGSEGV, jump_back);
	pthread_barrier_init(&barrier, NULL, FAULTING);
	for (int i = 0; i < FAULTING; i++)
		CHECK(pthread_create(&threads[i], NULL, fault_and_go_on, p[i]) == 0);
	for (int i = 0; i < FAULTING; i++)
		pthread_join(threads[i], NULL);
	free(guarded(100)); /* all works as before */
	_exit(7);
}

/* Each report is whole, and none is mixed with another. */
TEST(several_threads_fault_at_once)
{
	static char said[FAULTING * SAID];
	char *p[FAULTING], *at = said;
	int status, reports = 0;

	guards_begin();
	for (int i = 0; i < FAULTING; i++)
		p[i] = guarded(100);
	for (int i = 0; i < FAULTING; i++)
		free(p[i]);
	status = test_in_child(fault_in_threads, p, said, sizeof(said));
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 7, "it %s", test_ending(status));
	while (at && *at) {
		char *next = strstr(at + 1, "osmem: use after free");

		if (next)
			next[-1] = '\0';
		expect_stack(at, "osmem: the access was",
			     (unsigned int)atoi(strstr(at, "access was in thread ") + 21));
		expect_stack(at, "osmem: the block was allocated", thread_id());
		expect_stack(at, "osmem: the block was freed", thread_id());
		reports++;
		at = next;
	}
	CHECK_MSG(reports == FAULTING, "%d reports", reports);
}

/* ---- Wrong calls ---- */

/* call(p) must abort with this line, and stacks. */
__attribute__((format(printf, 4, 5))) static void
expect_misuse(void (*call)(void *p), void *p, bool is_freed, const char *format, ...)
{
	static char said[SAID];
	char want[256];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(want, sizeof(want), format, args);
	va_end(args);
	status = test_in_child(call, p, said, sizeof(said));
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "it %s: %s",
		  test_ending(status), said);
	expect_first_line(said, want);
	CHECK(line_of(said, "osmem: the call was in thread "));
	expect_stack(said, "osmem: the block was allocated", thread_id());
	CHECK(!strstr(said, "was freed") == !is_freed);
}

static void free_inside(void *p)
{
	free((char *)p + 8);
}

static void free_behind(void *p)
{
	free((char *)p + 300);
}

static void realloc_it(void *p)
{
	sink = !realloc(p, 10000);
}

static void shrink_it(void *p)
{
	sink = !realloc(p, 1);
}

static void ask_it(void *p)
{
	sink = (char)malloc_usable_size(p);
}

TEST(wrong_pointers_are_reported)
{
	char *live, *gone;

	guards_begin();
	live = guarded_at(false, 100);
	gone = guarded_at(false, 200);
	free(gone);
	expect_misuse(free, gone, true, "osmem: free(%p): this block is already free", gone);
	expect_misuse(realloc_it, gone, true, "osmem: realloc(%p): this block is already free",
		      gone);
	expect_misuse(shrink_it, gone, true, "osmem: realloc(%p): this block is already free",
		      gone);
	expect_misuse(ask_it, gone, true,
		      "osmem: malloc_usable_size(%p): this block is already free", gone);
	expect_misuse(free_inside, live, false,
		      "osmem: free(%p): not the start of a block, but inside a live block of 100 "
		      "bytes at %p",
		      live + 8, live);
	expect_misuse(free_inside, gone, true,
		      "osmem: free(%p): not the start of a block, but inside a freed block of 200 "
		      "bytes at %p",
		      gone + 8, gone);
	expect_misuse(free_behind, live, false,
		      "osmem: free(%p): not the start of a block, but near a live block of 100 "
		      "bytes at %p",
		      live + 300, live);
}

static void free_wrong_size(void *p)
{
	free_sized(p, 101);
}

static void free_wrong_align(void *p)
{
	free_aligned_sized(p, 64, 100);
}

TEST(wrong_sizes_are_reported)
{
	char *p;

	guards_begin();
	p = guarded_at(false, 100);
	expect_misuse(free_wrong_size, p, false,
		      "osmem: free_sized(%p): not allocated with 101 bytes: this block has 100", p);
	expect_misuse(free_wrong_align, p, false,
		      "osmem: free_aligned_sized(%p): not allocated with an alignment of 64 bytes",
		      p);
}

static int stray; /* from the start of a block */

static void write_stray_and_free(void *p)
{
	((char *)p)[stray] = 0;
	free(p);
}

static void write_stray_and_shrink(void *p)
{
	((char *)p)[stray] = 0;
	shrink_it(p);
}

/* What misses the guard page is seen when the block is freed or resized. */
TEST(writes_beside_the_guard_are_reported)
{
	char *right, *left;

	guards_begin();
	right = guarded_at(true, 100); /* 12 bytes before the guard */
	left = guarded_at(false, 100);
	stray = 100;
	expect_misuse(write_stray_and_free, right, false,
		      "osmem: free(%p): byte 1 behind this block of 100 bytes is overwritten",
		      right);
	expect_misuse(write_stray_and_shrink, right, false,
		      "osmem: realloc(%p): byte 1 behind this block of 100 bytes is overwritten",
		      right);
	stray = 111;
	expect_misuse(write_stray_and_free, right, false,
		      "osmem: free(%p): byte 12 behind this block of 100 bytes is overwritten",
		      right);
	expect_misuse(write_stray_and_free, left, false,
		      "osmem: free(%p): byte 12 behind this block of 100 bytes is overwritten",
		      left);
	stray = -1;
	expect_misuse(write_stray_and_free, right, false,
		      "osmem: free(%p): byte 1 before this block of 100 bytes is overwritten",
		      right);
	stray = -500;
	expect_misuse(write_stray_and_free, right, false,
		      "osmem: free(%p): byte 500 before this block of 100 bytes is overwritten",
		      right);
}

static void *free_at_once(void *p)
{
	pthread_barrier_wait(&barrier);
	free(p);
	return NULL;
}

static void free_in_two_threads(void *p)
{
	pthread_t threads[2];

	pthread_barrier_init(&barrier, NULL, 2);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, free_at_once, p) == 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

TEST(two_threads_free_a_block)
{
	static char said[SAID];

	guards_begin();
	for (int i = 0; i < 20; i++) {
		char *p = guarded(100);
		int status = test_in_child(free_in_two_threads, p, said, sizeof(said));

		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "it %s",
			  test_ending(status));
		CHECK_MSG(strstr(said, "this block is already free"), "%s", said);
		free(p);
	}
}

/* A handler of SIGABRT may do what it may do elsewhere. */
static void on_abort(int signal)
{
	struct sigaction action;

	(void)signal;
	sigaction(SIGSEGV, NULL, &action);
	_exit(action.sa_handler == SIG_DFL ? 9 : 1);
}

static void abort_with_handler(void *p)
{
	signal(SIGABRT, on_abort);
	free(p);
}

TEST(a_handler_of_sigabrt_runs_as_usual)
{
	static char said[SAID];
	char *p;
	int status;

	guards_begin();
	p = guarded(100);
	free(p);
	status = test_in_child(abort_with_handler, p, said, sizeof(said));
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 9, "it %s", test_ending(status));
}
