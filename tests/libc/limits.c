// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* Memory that runs out: resource limits, and what must go on working under them. */

#include "libc_common.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "osmem.h"

static void unlimit(int resource)
{
	test_limit(resource, RLIM_INFINITY);
}

/* Every block holds the address of the one before, so there is nothing else to allocate. */
struct link {
	struct link *before;
};

/* Allocate blocks of size bytes until there is no memory; the last block, and their number. */
static struct link *exhaust(size_t size, size_t *count)
{
	struct link *last = NULL;

	for (*count = 0;; ++*count) {
		struct link *next;

		errno = 0;
		next = malloc(size);
		if (!next)
			break;
		next->before = last;
		last = next;
	}
	CHECK(errno == ENOMEM);
	return last;
}

static void free_all(struct link *last)
{
	while (last) {
		struct link *before = last->before;

		free(last);
		last = before;
	}
}

static const size_t sizes[] = {16, 100, 1000, 8000, 20000, 100000, 200000, 1 << 20, 5 << 20};

/* To the limit, back, and to the limit again: nothing may be lost, and blocks of any other size
 * fit. */
static void exhaust_and_recover(size_t limit_bytes)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t first, second, other;
		struct link *last = exhaust(sizes[i], &first);

		CHECK_MSG(first * (sizes[i] + 48) >= limit_bytes / 2, "%zu blocks of %zu only",
			  first, sizes[i]);
		CHECK(calloc(1, 3 * sizes[i] + 4 * MIB) == NULL && errno == ENOMEM);
		free_all(last);
		last = exhaust(sizes[i], &second);
		free_all(last);
		CHECK_MSG(second >= first - first / 10, "%zu blocks of %zu, then %zu", first,
			  sizes[i], second);
		last = exhaust(50000, &other);
		free_all(last);
		CHECK_MSG(other * 50000 >= limit_bytes / 2, "after %zu: %zu blocks of 50000 only",
			  sizes[i], other);
	}
}

TEST(address_space_limit_is_enomem_and_recovers)
{
	test_limit(RLIMIT_AS, mapped_bytes() + 64 * MIB);
	exhaust_and_recover(64 * MIB);
	unlimit(RLIMIT_AS);
	CHECK(malloc(256 * MIB) != NULL);
}

/* Free n blocks in the middle of a row of count, neighbours as they were allocated. */
static void free_in_the_middle(struct link *last, size_t count, size_t n)
{
	struct link *at = last, *rest;

	for (size_t i = 0; i < count / 2; i++)
		at = at->before;
	rest = at->before;
	while (n-- > 0) {
		struct link *before = rest->before;

		free(rest);
		rest = before;
	}
	at->before = rest;
}

static void check_neighbours(size_t size, size_t n, size_t larger)
{
	size_t count;
	struct link *last = exhaust(size, &count);
	void *p, *q;

	CHECK(count > 2 * n);
	free_in_the_middle(last, count, n);
	p = malloc(larger);
	CHECK_MSG(p, "malloc(%zu) fails with %zu neighbours of %zu free", larger, n, size);
	q = calloc(1, larger);
	CHECK_MSG(q && is_zero(q, larger), "calloc(%zu) fails with %zu neighbours of %zu free",
		  larger, n, size);
	memset(p, 1, larger);
	free(p);
	free(q);
	free_all(last);
}

/* What was freed is found, in whatever size, before there is said to be no memory. */
TEST(neighbours_freed_at_the_limit_serve_a_larger_block)
{
	test_limit(RLIMIT_AS, mapped_bytes() + 64 * MIB);
	check_neighbours(33000, 20, 100000);
	check_neighbours(33000, 20, 60000);
	check_neighbours(40000, 20, 120000);
}

/* Cells: 64 KiB of them serve any other size that has cells; four times as many, the large ones. */
TEST(neighbours_freed_at_the_limit_serve_other_cells)
{
	test_limit(RLIMIT_AS, mapped_bytes() + 64 * MIB);
	check_neighbours(48, 200 * KIB / 48, 3000);
	check_neighbours(48, 200 * KIB / 48, 1000);
	check_neighbours(1000, 200, 48);
	check_neighbours(48, 700 * KIB / 48, 20000);
	check_neighbours(20000, 60, 48);
}

TEST(data_limit_is_enomem_and_recovers)
{
	/* What counts against it already is at most all that is mapped. */
	test_limit(RLIMIT_DATA, mapped_bytes() + 64 * MIB);
	exhaust_and_recover(64 * MIB);
	unlimit(RLIMIT_DATA);
	CHECK(malloc(256 * MIB) != NULL);
}

/* Nobody else would like a test that sets this; on a machine that has it, it is tested. */
TEST(overcommit_mode_2_is_enomem)
{
	char mode = 0;
	int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY);
	volatile size_t most = (size_t)1 << 46;

	if (fd < 0 || read(fd, &mode, 1) != 1 || mode != '2')
		test_skip("vm.overcommit_memory is not 2");
	CHECK(malloc(most) == NULL && errno == ENOMEM);
	CHECK(malloc(MIB) != NULL);
}

TEST(limit_before_the_first_block)
{
	test_limit(RLIMIT_AS, mapped_bytes());
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		void *p;

		errno = 0;
		p = malloc(sizes[i]);
		CHECK(p || errno == ENOMEM);
		free(p);
	}
	unlimit(RLIMIT_AS);
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		CHECK(malloc(sizes[i]) != NULL);
}

TEST(realloc_at_the_limit_leaves_the_block)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct link *last;
		size_t count;
		char *p = malloc(sizes[i]);

		CHECK(p != NULL);
		fill(p, sizes[i], 1);
		test_limit(RLIMIT_AS, mapped_bytes() + 16 * MIB);
		last = exhaust(sizes[i] < 1000 ? 1000 : sizes[i], &count);
		errno = 0;
		CHECK(realloc(p, sizes[i] + 32 * MIB) == NULL && errno == ENOMEM);
		CHECK(is_filled(p, sizes[i], 1));
		free_all(last);
		p = realloc(p, sizes[i] + 4 * MIB);
		CHECK(p && is_filled(p, sizes[i], 1));
		free(p);
		unlimit(RLIMIT_AS);
	}
}

/* free must work when the kernel gives nothing, not even what a split mapping would cost. */
TEST(free_at_the_limit)
{
	static char *p[2000];

	for (size_t i = 0; i < COUNT_OF(p); i++) {
		p[i] = malloc(i % 2 ? 1000 : 150000);
		CHECK(p[i] != NULL);
		p[i][0] = 1;
	}
	test_limit(RLIMIT_AS, 0);
	test_limit(RLIMIT_DATA, 0);
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		errno = 4242;
		free(p[i]);
		CHECK(errno == 4242);
	}
	malloc_trim(0);
	for (size_t i = 0; i < 100; i++) {
		p[i] = malloc(i);
		free(p[i]);
	}
}

/* The course's names have the break first and mappings beside it. */
TEST(os_malloc_recovers_from_a_limit)
{
	static void *p[10000];
	size_t count = 0;

	test_limit(RLIMIT_DATA, mapped_bytes() + 32 * MIB);
	while (count < COUNT_OF(p) && (p[count] = os_malloc(10000)))
		count++;
	CHECK(count > 800 && count < COUNT_OF(p) && errno == ENOMEM);
	for (size_t i = 0; i < count; i++)
		os_free(p[i]);
	for (size_t i = 0; i < count / 2; i++)
		CHECK((p[i] = os_malloc(10000)) != NULL);
}

static void *allocate_little(void *arg)
{
	void *p[100];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = malloc(i * 10);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	return arg;
}

/* It works or says that it does not; crashes and hangs are ours. */
TEST(pthread_create_at_the_limit)
{
	bool worked = false, failed = false;
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * KIB);
	for (size_t left = 0; left <= 2 * MIB; left += 16 * KIB) {
		pthread_t threads[8];
		size_t started = 0;

		test_limit(RLIMIT_AS, mapped_bytes() + left);
		while (started < COUNT_OF(threads)) {
			int error = pthread_create(&threads[started], &attr, allocate_little, NULL);

			CHECK_MSG(error == 0 || error == EAGAIN || error == ENOMEM, "error %d",
				  error);
			failed = failed || error;
			if (error)
				break;
			started++;
		}
		worked = worked || started;
		for (size_t i = 0; i < started; i++)
			CHECK(pthread_join(threads[i], NULL) == 0);
		unlimit(RLIMIT_AS);
	}
	CHECK(worked && failed);
}

/*
 * Under the limit, threads that allocate at the same time get memory or ENOMEM, and all recovers.
 */
static void *exhaust_in_thread(void *arg)
{
	for (int i = 0; i < 20; i++) {
		size_t count;

		free_all(exhaust(*(size_t *)arg, &count));
	}
	return NULL;
}

TEST(threads_at_the_limit)
{
	pthread_t threads[4];

	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		static size_t of[] = {100, 3000, 40000, 300000};

		CHECK(pthread_create(&threads[i], NULL, exhaust_in_thread, &of[i]) == 0);
		test_limit(RLIMIT_AS, mapped_bytes() + 24 * MIB);
	}
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	malloc_trim(0);
	CHECK(malloc(4 * MIB) != NULL);
}

TEST(stdio_at_the_limit)
{
	size_t count;
	struct link *last;
	FILE *f;

	test_limit(RLIMIT_AS, mapped_bytes() + 16 * MIB);
	last = exhaust(100, &count);
	f = fopen("/dev/null", "w");
	if (f)
		fclose(f);
	free_all(last);
	f = fopen("/dev/null", "w");
	CHECK(f && fprintf(f, "%s", "text") == 4 && fclose(f) == 0);
}

TEST(no_large_address_space_is_reserved)
{
	size_t before = mapped_bytes();

	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		free(malloc(sizes[i]));
	os_free(os_malloc(100));
	CHECK_MSG(mapped_bytes() < before + 64 * MIB, "%zu MiB more",
		  (mapped_bytes() - before) / MIB);
}

/* A page behind the break is taken, so brk refuses: malloc does not need it. */
TEST(malloc_goes_on_when_the_break_is_blocked)
{
	char *end = sbrk(0);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *wall = mmap((void *)(((uintptr_t)end + 4 * page) & ~(page - 1)), page, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	struct link *last = NULL;

	CHECK(wall != MAP_FAILED);
	for (size_t i = 0; i < 20000; i++) {
		struct link *next = malloc(1000);

		CHECK(next != NULL);
		next->before = last;
		last = next;
		errno = 0;
		CHECK(os_malloc(100) || errno == ENOMEM);
	}
	free_all(last);
}

/* Mode 0 refuses what is more than there can be; and nothing else here. */
TEST(overcommit_heuristic_is_enomem)
{
	char mode = 0;
	int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY);
	volatile size_t most = (size_t)1 << 45;

	if (fd < 0 || read(fd, &mode, 1) != 1 || mode != '0')
		test_skip("vm.overcommit_memory is not 0");
	errno = 0;
	CHECK(malloc(most) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(calloc(most, 1) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(os_malloc(most) == NULL && errno == ENOMEM);
	CHECK(malloc(MIB) != NULL && os_malloc(MIB) != NULL);
}

/*
 * The kernel has no room to note one more mapping, so none can be cut in two: what is freed in the
 * middle of others cannot go. It goes when there is room again.
 */
static char *fill_up_mappings(size_t *size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), at;
	char *p;

	*size = 200000 * page;
	p = mmap(NULL, *size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	for (at = 0; at < *size; at += 2 * page)
		if (mprotect(p + at, page, PROT_READ) != 0)
			break;
	if (at >= *size)
		test_skip("vm.max_map_count is not a limit");
	CHECK(errno == ENOMEM);
	return p;
}

TEST(no_room_to_note_another_mapping)
{
	static char *p[100];
	size_t before = mapped_bytes(), size;
	char *filler;

	/* Mappings, side by side: one, as the kernel notes it. */
	CHECK(mallopt(M_MMAP_THRESHOLD, 128 * KIB) == 1);
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		CHECK((p[i] = malloc(300000)) != NULL);
		fill(p[i], 300000, (unsigned int)i);
	}
	filler = fill_up_mappings(&size);
	for (size_t i = 1; i < COUNT_OF(p); i += 2) {
		errno = 4242;
		free(p[i]);
		CHECK(errno == 4242);
	}
	for (size_t i = 0; i < 1000; i++)
		free(malloc(i * 100));
	CHECK(munmap(filler, size) == 0);
	for (size_t i = 0; i < COUNT_OF(p); i += 2) {
		CHECK(is_filled(p[i], 300000, (unsigned int)i));
		free(p[i]);
	}
	malloc_trim(0);
	CHECK_MSG(mapped_bytes() < before + 16 * MIB, "%zu KiB, before %zu KiB",
		  mapped_bytes() / KIB, before / KIB);
}

/* Of the 65,530 mappings of a process the library uses a quarter at most. */
TEST(shrunk_objects_keep_few_mappings)
{
	static char *p[17000];

	for (size_t i = 0; i < COUNT_OF(p); i++) {
		CHECK((p[i] = malloc(3 * MIB)) != NULL);
		fill(p[i], 5000, (unsigned int)i);
		CHECK((p[i] = realloc(p[i], 40000)) != NULL);
	}
	CHECK_MSG(count_mappings() < 65530 / 4, "%zu mappings", count_mappings());
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		CHECK(is_filled(p[i], 5000, (unsigned int)i));
		free(p[i]);
	}
}

/* ---- System calls that are not allowed ---- */

#define ALLOW(name)                                                                                \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1),                                     \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* What glibc's malloc, its threads, and the test itself call; anything else kills. */
static void allow_what_glibc_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(brk),
		ALLOW(mmap),
		ALLOW(munmap),
		ALLOW(mremap),
		ALLOW(mprotect),
		ALLOW(madvise),
		ALLOW(futex),
		ALLOW(clone3),
		ALLOW(set_robust_list),
		ALLOW(rseq),
		ALLOW(rt_sigprocmask),
		ALLOW(rt_sigaction),
		ALLOW(write),
		ALLOW(clock_nanosleep),
		ALLOW(exit),
		ALLOW(exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {.len = COUNT_OF(code), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		test_skip("no seccomp filters here");
}

static void *use_blocks_of_all_sizes(void *arg)
{
	uint64_t state = (uintptr_t)arg;
	void *p[300] = {NULL};

	for (size_t i = 0; i < 30000; i++) {
		size_t k = random_next(&state) % COUNT_OF(p), size = random_next(&state) % 3000;

		if (i % 32 == 0)
			size *= 1000;
		p[k] = realloc(p[k], size + 1);
		CHECK(p[k] != NULL);
		*(unsigned char *)p[k] = 1;
		if (i % 5 == 0) {
			free(p[k]);
			p[k] = NULL;
		}
		if (i % 10000 == 0)
			sleep_ms(160); /* a sweep is due */
	}
	for (size_t k = 0; k < COUNT_OF(p); k++)
		free(p[k]);
	return NULL;
}

TEST(filters_made_for_glibc_kill_nobody)
{
#ifndef __GLIBC__
	test_skip("this C library makes other system calls");
#endif
	pthread_t thread;

	allow_what_glibc_calls();
	CHECK(!pthread_create(&thread, NULL, use_blocks_of_all_sizes, (void *)3));
	use_blocks_of_all_sizes((void *)5);
	CHECK(!pthread_join(thread, NULL));
	malloc_trim(0);
}
