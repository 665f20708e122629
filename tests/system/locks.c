// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* The lock and the revocation of its bias. The test sets libc's belief about threads. */

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "harness.h"
#include "lock.h"

#define THREADS 4
#define ROUNDS 20000

/* Not every C library has it. */
extern char __libc_single_threaded __attribute__((weak));

static struct lock lock;
static unsigned int count; /* guarded by it */
static atomic_bool is_over;
static atomic_bool is_told; /* what libc is to believe */

static void wait_until_told(void)
{
	while (!is_told)
		sched_yield();
}

/* pthread_create has changed it. */
static void believe(bool is_single)
{
	if (&__libc_single_threaded)
		__libc_single_threaded = is_single;
	is_told = true;
}

static void *count_up(void *arg)
{
	wait_until_told();
	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned int seen;

		lock_acquire(&lock);
		seen = count;
		if (i % 64 == 0)
			sched_yield(); /* others come to sleep */
		count = seen + 1;
		lock_release(&lock);
	}
	return arg;
}

static void count_with_threads(bool is_known)
{
	pthread_t threads[THREADS];

	for (unsigned int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, count_up, NULL) == 0);
	believe(!is_known);
	for (unsigned int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK_MSG(count == THREADS * ROUNDS, "%u, not %u", count, THREADS * ROUNDS);
	CHECK(!lock_is_held(&lock));
}

TEST(one_holds_it_and_nobody_sleeps_forever)
{
	count_with_threads(true);
}

TEST(libc_need_not_know_of_threads)
{
	count_with_threads(false);
	CHECK(lock_has_foreign_threads());
}

TEST(nothing_is_locked_in_a_single_thread)
{
	lock_acquire(&lock);
	CHECK(!lock_is_held(&lock));
	CHECK(lock_bias.depth == 1);
	lock_release(&lock);
	CHECK(lock_bias.depth == 0);
	CHECK(!lock_is_needed());
}

static void *come(void *arg)
{
	wait_until_told();
	lock_acquire(&lock);
	CHECK_MSG(is_over, "a section of the thread that owns the bias was not waited for");
	CHECK(lock_is_held(&lock));
	lock_release(&lock);
	return arg;
}

/* The second thread waits until the owner of the bias leaves its section, which is not locked. */
TEST(a_newcomer_waits_for_the_section_of_the_first_thread)
{
	static struct lock inner;
	pthread_t thread;

	lock_acquire(&lock);
	lock_release(&lock); /* this thread owns the bias from here on */
	lock_acquire(&lock);
	CHECK(pthread_create(&thread, NULL, come, NULL) == 0);
	believe(true);
	while (!lock_is_needed())
		usleep(1000);
	lock_acquire(&inner);
	usleep(100000);
	lock_release(&inner);
	CHECK(!lock_is_held(&inner));
	is_over = true;
	lock_release(&lock);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(lock_has_foreign_threads() && lock_bias.depth == 0);
}

/* The owner of the bias is inside a section and does not exist in the child of another thread. */
static void *fork_and_lock(void *arg)
{
	wait_until_told();
	lock_fork_child();
	lock_acquire(&lock);
	CHECK(lock_is_held(&lock));
	lock_release(&lock);
	return arg;
}

TEST(nobody_is_waited_for_who_is_gone)
{
	pthread_t thread;

	lock_acquire(&lock);
	lock_release(&lock);
	lock_acquire(&lock);
	CHECK(pthread_create(&thread, NULL, fork_and_lock, NULL) == 0);
	believe(true);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(lock_bias.depth == 0);
}
