// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Call stacks: each function below notes where it returns to, and the stack has to say the same. In
 * an archive the library's own frames are shown, so the first is that of the caller of stack_take.
 */

#include <alloca.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "harness.h"
#include "registers.h"
#include "sample/cfi.h"
#include "sample/stack.h"

#define DEPTH 200
#define NOINLINE __attribute__((noinline))
#define STAY() __asm__ volatile("") /* the call before is not the last instruction */

static uintptr_t noted[DEPTH]; /* outermost first */
static unsigned int noted_count;

#define ENTER() (noted[noted_count++] = (uintptr_t)__builtin_return_address(0))
#define LEAVE() (noted_count--)

static uintptr_t frames[DEPTH];
static unsigned int count;

/* The stack from here up to the outermost function that has noted anything. */
static bool stack_is_as_noted(void)
{
	count = stack_take(frames, DEPTH);
	if (count < 1 + noted_count)
		return false;
	for (unsigned int i = 0; i < noted_count; i++)
		if (frames[1 + i] != noted[noted_count - 1 - i])
			return false;
	return true;
}

static unsigned int checks;

static NOINLINE void leaf(void)
{
	ENTER();
	CHECK_MSG(stack_is_as_noted(), "%u frames for %u functions", count, noted_count);
	checks++;
	LEAVE();
}

static NOINLINE void deep(unsigned int depth)
{
	ENTER();
	if (depth)
		deep(depth - 1);
	else
		leaf();
	LEAVE();
}

/* The builtin makes it keep a frame pointer. */
static NOINLINE void pointed(unsigned int depth)
{
	void *volatile frame = __builtin_frame_address(0);

	CHECK(frame);
	ENTER();
	if (depth)
		pointed(depth - 1);
	else
		deep(3);
	LEAVE();
}

/* Frames whose size only the running program knows, and stacks that are aligned anew. */
static NOINLINE void variable(size_t size)
{
	volatile char *room = alloca(size);

	ENTER();
	room[0] = 1;
	deep(2);
	LEAVE();
	room[size - 1] = 2;
}

static NOINLINE void aligned(size_t size)
{
	_Alignas(64) volatile char line[64];
	volatile char *room = alloca(size);

	ENTER();
	line[0] = 1;
	variable(size);
	LEAVE();
	room[0] = line[63] = 2;
}

static void begin(void)
{
	CHECK(stack_begin() && stack_begin());
	noted_count = 0;
}

TEST(without_begin_there_are_none)
{
	CHECK(stack_take(frames, DEPTH) == 0);
}

TEST(functions_of_all_kinds)
{
	begin();
	for (unsigned int i = 0; i < 3; i++) {
		leaf();
		deep(20);
		pointed(10);
		variable(1000);
		variable(300000);
		aligned(100);
	}
	CHECK(checks == 18);
}

TEST(no_more_than_asked_for)
{
	begin();
	for (unsigned int max = 0; max < 4; max++) {
		frames[max] = 17;
		CHECK(stack_take(frames, max) == max && frames[max] == 17);
	}
}

/* qsort is code of libc. */
static int compare(const void *a, const void *b)
{
	(void)a, (void)b;
	count = stack_take(frames, DEPTH);
	return 0;
}

static NOINLINE void sort(void)
{
	int numbers[2] = {1, 2};
	bool is_found = false;

	ENTER();
	qsort(numbers, 2, sizeof(numbers[0]), compare);
	for (unsigned int i = 0; i < count; i++)
		is_found |= frames[i] == noted[noted_count - 1];
	CHECK(is_found);
	LEAVE();
}

/* musl is built without it. */
static void needs_libcs_frames(void)
{
#ifndef __GLIBC__
	test_skip("the C library has no call frame information");
#endif
}

TEST(through_libc)
{
	needs_libcs_frames();
	begin();
	sort();
}

/* ---- Signals ---- */

/* Those that have noted anything are all there, in their order, with others between them. */
static bool noted_are_among(void)
{
	unsigned int n = noted_count;

	count = stack_take(frames, DEPTH);
	for (unsigned int i = 0; i < count && n; i++)
		n -= frames[i] == noted[n - 1];
	return n == 0;
}

static void handle(int signal)
{
	(void)signal;
	CHECK(noted_are_among());
	checks++;
}

static NOINLINE void interrupted(unsigned int depth)
{
	ENTER();
	if (depth)
		interrupted(depth - 1);
	else
		raise(SIGUSR1);
	LEAVE();
}

TEST(a_handler_has_the_frames_of_what_it_interrupts)
{
	static char stack[64 << 10];
	stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_handler = handle};

	needs_libcs_frames();
	begin();
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	interrupted(5);
	action.sa_flags = SA_ONSTACK;
	CHECK(sigaltstack(&other, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
	interrupted(5);
	interrupted(0);
	CHECK(checks == 3);
}

static unsigned int signals, complete;
static uintptr_t outermost;

static void handle_anywhere(int signal)
{
	uintptr_t found[DEPTH];
	unsigned int n = stack_take(found, DEPTH);

	(void)signal;
	CHECK(n > 0);
	signals++;
	complete += found[n - 1] == outermost;
}

static NOINLINE void work(unsigned int i)
{
	char text[64];
	int numbers[32];

	for (unsigned int k = 0; k < 32; k++)
		numbers[k] = (int)(i * 7919 * k);
	qsort(numbers, 32, sizeof(numbers[0]), compare);
	snprintf(text, sizeof(text), "%u %f", i, i / 3.0);
	deep(i % 10);
	aligned(100);
	free(strdup(text));
}

/* Compilers for riscv64 write unwind tables for C only if they are told, and libc does not. */
static bool libc_has_tables(void)
{
	struct object object;
	uintptr_t address = (uintptr_t)strcasecmp;

	return object_find(address, &object) && cfi_read(&object, address).kind == CFI_FRAME;
}

/* At any instruction: in prologues, in libc, and within stack_take itself. */
TEST(a_signal_may_come_anywhere)
{
	struct itimerval every = {{0, 200}, {0, 200}};
	struct sigaction action = {.sa_handler = handle_anywhere, .sa_flags = SA_RESTART};

	needs_libcs_frames();
	begin();
	outermost = frames[stack_take(frames, DEPTH) - 1];
	CHECK(sigaction(SIGPROF, &action, NULL) == 0 && setitimer(ITIMER_PROF, &every, NULL) == 0);
	for (unsigned int i = 0; signals < 300; i++)
		work(i);
	signal(SIGPROF, SIG_IGN);
	CHECK_MSG(complete >= signals * (libc_has_tables() ? 9 : 7) / 10, "%u of %u", complete,
		  signals);
}

/* ---- Threads and other stacks ---- */

static void *run(void *function)
{
	((void (*)(void))function)();
	return NULL;
}

/* On a stack of that size, or the smallest that libc takes. */
static void in_thread(void (*function)(void), size_t least)
{
	size_t size = least > (size_t)PTHREAD_STACK_MIN ? least : (size_t)PTHREAD_STACK_MIN;
	void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;

	CHECK(stack != MAP_FAILED && pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstack(&attr, stack, size) == 0);
	CHECK(pthread_create(&thread, &attr, run, (void *)function) == 0);
	CHECK(pthread_join(thread, NULL) == 0 && munmap(stack, size) == 0);
}

static void deep_in_thread(void)
{
	noted_count = 0;
	deep(10);
}

TEST(on_small_stacks)
{
	begin();
	for (unsigned int i = 0; i < 20; i++)
		in_thread(deep_in_thread, 16 << 10);
	in_thread(deep_in_thread, 1 << 20);
	CHECK(checks == 21);
}

static pthread_key_t key;

static void destroy(void *value)
{
	(void)value;
	deep_in_thread();
}

static void set_key(void)
{
	CHECK(pthread_setspecific(key, &key) == 0);
}

TEST(while_a_thread_ends)
{
	begin();
	CHECK(pthread_key_create(&key, destroy) == 0);
	in_thread(set_key, 64 << 10);
	CHECK(checks == 1);
}

/* Not every C library has them. */
#pragma weak getcontext
#pragma weak makecontext
#pragma weak swapcontext

static ucontext_t context_main, context_other;

static void needs_contexts(void)
{
	if (!makecontext)
		test_skip("the C library has no makecontext");
}

static void other_context(void)
{
	noted_count = 0;
	for (;;) {
		deep(5);
		CHECK(swapcontext(&context_other, &context_main) == 0);
	}
}

/* One that ends where nothing is mapped, and one that ends in memory that cannot be read. */
TEST(in_a_coroutine)
{
	const size_t size = 32 << 10;
	char *stack = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	needs_contexts();
	begin();
	CHECK(stack != MAP_FAILED && mprotect(stack, size, PROT_READ | PROT_WRITE) == 0);
	for (unsigned int i = 0; i < 2; i++) {
		CHECK(getcontext(&context_other) == 0);
		context_other.uc_stack.ss_sp = stack;
		context_other.uc_stack.ss_size = size;
		makecontext(&context_other, other_context, 0);
		for (unsigned int k = 0; k < 5; k++) {
			CHECK(swapcontext(&context_main, &context_other) == 0);
			noted_count = 0;
			deep(3);
		}
		CHECK(munmap(stack + size, size) == 0 || i);
	}
	CHECK(checks == 20);
}

static void fork_and_check(void)
{
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		deep_in_thread();
		in_thread(deep_in_thread, 16 << 10);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

TEST(in_a_forked_child)
{
	begin();
	fork_and_check();
	in_thread(fork_and_check, 64 << 10);
}

/* ---- Code without call frame information ---- */

/*
 * call_pointed keeps a frame pointer. call_bare has none, and what its caller had in that register.
 * call_with sets the register to its second argument, as code may that uses it for something else.
 */
void call_pointed(void (*function)(void));
void call_bare(void (*function)(void));
void call_with(void (*function)(void), uintptr_t frame_pointer);

#if defined(__x86_64__)
#define CALL_POINTED "push %rbp; mov %rsp, %rbp; call *%rdi; pop %rbp; ret"
#define CALL_BARE "sub $8, %rsp; call *%rdi; add $8, %rsp; ret"
#define CALL_WITH "push %rbp; mov %rsi, %rbp; call *%rdi; pop %rbp; ret"
#elif defined(__aarch64__)
#define CALL_POINTED "stp x29, x30, [sp, #-32]!; mov x29, sp; blr x0; ldp x29, x30, [sp], #32; ret"
#define CALL_BARE "str x30, [sp, #-16]!; blr x0; ldr x30, [sp], #16; ret"
#define CALL_WITH "stp x29, x30, [sp, #-16]!; mov x29, x1; blr x0; ldp x29, x30, [sp], #16; ret"
#elif defined(__riscv)
#define PUSH "addi sp, sp, -16; sd ra, 8(sp); sd s0, 0(sp); "
#define POP "; ld ra, 8(sp); ld s0, 0(sp); addi sp, sp, 16; ret"
#define CALL_POINTED PUSH "addi s0, sp, 16; jalr a0" POP
#define CALL_BARE PUSH "jalr a0" POP
#define CALL_WITH PUSH "mv s0, a1; jalr a0" POP
#else
#error "what a frame pointer is there is not known"
#endif

__asm__(".text\n"
	".globl call_pointed, call_bare, call_with\n"
	"call_pointed: " CALL_POINTED "\n"
	"call_bare: " CALL_BARE "\n"
	"call_with: " CALL_WITH "\n");

static void leaf_below(void)
{
	count = stack_take(frames, DEPTH);
	CHECK(count >= 2 && frames[1] == (uintptr_t)__builtin_return_address(0));
	checks++;
}

static NOINLINE void through_pointed(void)
{
	ENTER();
	call_pointed(leaf_below);
	CHECK(count >= 4 && frames[3] == noted[noted_count - 1]);
	LEAVE();
}

TEST(frame_pointers_lead_through_it)
{
	begin();
	for (unsigned int i = 0; i < 3; i++)
		through_pointed();
	call_bare(leaf_below);
	CHECK(checks == 4);
}

/* Whatever is in the frame pointer, nothing is read that cannot be, and no frame is made of it. */
TEST(other_values_of_frame_pointers_do_no_harm)
{
	const size_t size = 1 << 20;
	uintptr_t own = (uintptr_t)__builtin_frame_address(0), words[4] = {own, 1, 2, 3};
	char *none = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const uintptr_t values[] = {0,
				    1,
				    own | 1,
				    own + size,
				    own + (size / 2),
				    own + 65536,
				    (uintptr_t)words + REGISTERS_RECORD,
				    (uintptr_t)none,
				    (uintptr_t)values + REGISTERS_RECORD,
				    UINTPTR_MAX,
				    UINTPTR_MAX - 7,
				    (uintptr_t)1 << 47};

	begin();
	CHECK(none != MAP_FAILED);
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		call_with(leaf_below, values[i]);
		CHECK_MSG(count == 2 || values[i] == (uintptr_t)values + REGISTERS_RECORD,
			  "%zu: %u frames", i, count);
	}
	/* The same at the very end of a stack. */
	in_thread(through_pointed, 16 << 10);
	call_with(leaf_below, (uintptr_t)none - 8);
	CHECK(munmap(none, size) == 0);
}

static uintptr_t value_of_frame_pointer;

static NOINLINE void call_deeply(size_t bytes)
{
	char *volatile room = alloca(bytes);

	room[0] = 0;
	call_with(leaf_below, value_of_frame_pointer);
	STAY();
}

static void coroutine(int bytes)
{
	call_deeply((size_t)bytes);
	CHECK(swapcontext(&context_other, &context_main) == 0);
}

static void run_coroutine(char *stack, size_t size, int depth)
{
	CHECK(mprotect(stack, size, PROT_READ | PROT_WRITE) == 0);
	CHECK(getcontext(&context_other) == 0);
	context_other.uc_stack.ss_sp = stack;
	context_other.uc_stack.ss_size = size;
	makecontext(&context_other, (void (*)(void))(void *)coroutine, 1, depth);
	CHECK(swapcontext(&context_main, &context_other) == 0);
	CHECK(mprotect(stack, size, PROT_NONE) == 0);
}

/* The second has the first one's addresses, but fewer: the frame pointer was in the first. */
TEST(in_coroutines_one_after_another)
{
	char *stack = mmap(NULL, 96 << 10, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	needs_contexts();
	begin();
	CHECK(stack != MAP_FAILED);
	value_of_frame_pointer = (uintptr_t)stack + (60 << 10);
	for (unsigned int i = 0; i < 3; i++) {
		run_coroutine(stack, 64 << 10, 40 << 10);
		run_coroutine(stack, 32 << 10, 0);
	}
	CHECK(checks == 6);
}

/* The bytes of call_pointed, up to those of call_bare. */
extern const unsigned char call_pointed_code[] __asm__("call_pointed"), call_bare_code[] __asm__(
										"call_bare");

static NOINLINE void through_generated(void (*generated)(void (*)(void)))
{
	ENTER();
	generated(leaf_below);
	CHECK(count >= 4 && frames[3] == noted[noted_count - 1]);
	LEAVE();
}

TEST(frame_pointers_lead_through_generated_code)
{
	unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	begin();
	if (page == MAP_FAILED)
		test_skip("no memory may be written to and executed");
	memcpy(page, call_pointed_code, (size_t)(call_bare_code - call_pointed_code));
	__builtin___clear_cache((char *)page, (char *)page + 4096);
	for (unsigned int i = 0; i < 3; i++)
		through_generated((void (*)(void (*)(void)))(uintptr_t)page);
	CHECK(checks == 3);
}
