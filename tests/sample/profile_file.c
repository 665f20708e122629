// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/* Files of osmem_write_profile: their figures, and what is there after success and after errors. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "osmem_inspect.h"
#include "pprof.h"
#include "refusals.h"
#include "sample/profile.h"
#include "sample/sample.h"

#define NOINLINE __attribute__((noinline))

static char folder[64], path[128];
static struct pprof profile;

/* With an interval of 1 each object is a sample, and all figures are exact. */
static void begin(void)
{
	CHECK(sample_start(1));
	snprintf(folder, sizeof(folder), "/tmp/osmem-profile-%u", (unsigned int)getpid());
	snprintf(path, sizeof(path), "%s/file", folder);
	CHECK(mkdir(folder, 0700) == 0);
}

static void end(void)
{
	unlink(path);
	CHECK(rmdir(folder) == 0); /* nothing else is in it */
}

/* The call of the function below: the address of each frame there lies within it. */
static uintptr_t call_of_known;

/* The program exports it, for its name to be found; musl's libc has no named caller in a stack. */
NOINLINE void *known(size_t size)
{
	void *p = malloc(size);

	call_of_known = (uintptr_t)__builtin_return_address(0) - 1;
	return p;
}

/* The sums of all samples whose stacks have that call. */
static void sum_known(uint64_t sums[PPROF_TYPES])
{
	memset(sums, 0, PPROF_TYPES * sizeof(*sums));
	for (size_t i = 0; i < profile.sample_count; i++) {
		const struct pprof_sample *s = &profile.samples[i];
		bool is_known = false;

		for (size_t k = 0; k < s->depth; k++)
			is_known |= pprof_address(&profile, s, k) == call_of_known;
		for (size_t k = 0; k < PPROF_TYPES && is_known; k++)
			sums[k] += s->values[k];
	}
}

TEST(without_a_profile_there_is_none)
{
	CHECK(osmem_write_profile("/tmp/osmem-none") == -1 && errno == EINVAL);
	CHECK(access("/tmp/osmem-none", F_OK) == -1);
}

TEST(figures_are_those_of_the_program)
{
	static void *p[100];
	uint64_t sums[PPROF_TYPES];

	begin();
	for (size_t i = 0; i < 100; i++)
		p[i] = known(100 + i);
	for (size_t i = 0; i < 30; i++)
		free(p[i]);
	CHECK(osmem_write_profile(path) == 0);
	pprof_read(&profile, path);
	sum_known(sums);
	CHECK(profile.period == 1);
	CHECK(sums[ALLOC_OBJECTS] == 100 && sums[ALLOC_SPACE] == 10000 + 4950);
	CHECK(sums[INUSE_OBJECTS] == 70 && sums[INUSE_SPACE] == 7000 + 4950 - 435);
	for (size_t i = 30; i < 100; i++)
		free(p[i]);
	CHECK(osmem_write_profile(path) == 0);
	pprof_read(&profile, path);
	sum_known(sums);
	CHECK(sums[ALLOC_OBJECTS] == 100 && sums[INUSE_OBJECTS] == 0 && sums[INUSE_SPACE] == 0);
	end();
}

static void *known_in_thread(void *size)
{
	return known((size_t)size);
}

TEST(threads_are_told_apart)
{
	pthread_t threads[3];
	size_t found = 0;

	begin();
	for (size_t i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, known_in_thread, (void *)(1000 + i)) == 0);
	for (size_t i = 0; i < 3; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(osmem_write_profile(path) == 0);
	pprof_read(&profile, path);
	for (size_t i = 0; i < profile.sample_count; i++) {
		const struct pprof_sample *s = &profile.samples[i];

		if (s->values[INUSE_SPACE] < 1000 || s->values[INUSE_SPACE] >= 1003)
			continue;
		CHECK(s->label && s->label != (uint64_t)getpid());
		found++;
	}
	CHECK_MSG(found == 3, "%zu", found);
	end();
}

/* The first mapping is the program's; each has a file, which is there. */
TEST(mappings_are_those_of_files)
{
	char own[512], file[512];
	ssize_t len = readlink("/proc/self/exe", own, sizeof(own) - 1);

	begin();
	if (len < 0)
		test_skip("no /proc");
	own[len] = '\0';
	free(known(100));
	CHECK(osmem_write_profile(path) == 0);
	pprof_read(&profile, path);
	CHECK(profile.mapping_count >= 2 && pprof_is(&profile, profile.mappings[0].file, own));
	CHECK((uintptr_t)known >= profile.mappings[0].start &&
	      (uintptr_t)known < profile.mappings[0].limit);
	for (size_t i = 0; i < profile.mapping_count; i++) {
		const struct pprof_text *t = &profile.texts[profile.mappings[i].file];

		snprintf(file, sizeof(file), "%.*s", (int)t->len, t->at);
		CHECK_MSG(*file == '[' || access(file, R_OK) == 0, "%s", file);
	}
	end();
}

/* ---- Readers ---- */

static atomic_bool is_over;

static void *write_again_and_again(void *unused)
{
	for (unsigned int i = 0; i < 300; i++)
		CHECK(osmem_write_profile(path) == 0);
	is_over = true;
	return unused;
}

TEST(a_reader_sees_whole_profiles)
{
	pthread_t threads[2];
	size_t reads = 0;

	begin();
	for (size_t i = 0; i < 1000; i++)
		known(i);
	CHECK(osmem_write_profile(path) == 0);
	for (size_t i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, write_again_and_again, NULL) == 0);
	for (; !is_over; reads++)
		pprof_read(&profile, path);
	CHECK(reads > 0);
	for (size_t i = 0; i < 2; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	end();
}

/* ---- Files of other kinds, and errors ---- */

TEST(a_link_is_written_through)
{
	char link[128], to[160];

	begin();
	snprintf(link, sizeof(link), "%s/link", folder);
	CHECK(symlink("file", link) == 0);
	for (unsigned int i = 0; i < 2; i++) {
		CHECK(osmem_write_profile(link) == 0);
		CHECK(readlink(link, to, sizeof(to)) == 4);
		pprof_read(&profile, path);
	}
	CHECK(unlink(link) == 0);
	end();
}

TEST(errors_are_those_of_the_file)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	begin();
	CHECK(fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno == EWOULDBLOCK));
	CHECK(osmem_write_profile("/dev/null") == 0);
	CHECK(osmem_write_profile("/dev/full") == -1 && errno == ENOSPC);
	CHECK(osmem_write_profile(folder) == -1 && errno == EISDIR);
	CHECK(osmem_write_profile("/nonexistent/file") == -1 && errno == ENOENT);
	CHECK(osmem_write_profile("") == -1 && errno == ENOENT);
	end();
}

enum change {
	OF_ROOT,
	OF_USER
};

static bool has_made(enum change change)
{
	if (change == OF_USER)
		return setuid(65534) == 0;
	return chroot("/proc") == 0 && chdir("/") == 0;
}

/* A server that may make no files any more where its profile is. The folder has mode 0700. */
static void update_after(enum change change)
{
	uint64_t total = 0;
	int status;
	pid_t child;

	begin();
	CHECK(profile_own(path) && profile_update(false));
	child = fork();
	if (child == 0) {
		known(1234567);
		_exit(has_made(change) ? !profile_update(false) : 77);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		test_skip("not allowed");
	CHECK(status == 0);
	pprof_read(&profile, path);
	for (size_t i = 0; i < profile.sample_count; i++)
		total += profile.samples[i].values[ALLOC_SPACE];
	CHECK(total >= 1234567);
	end();
}

TEST(after_a_change_of_root)
{
	update_after(OF_ROOT);
}

TEST(after_a_change_of_user)
{
	update_after(OF_USER);
}

/* The signal of a file that becomes too large would end the program. */
TEST(the_limit_of_files_is_respected)
{
	struct rlimit limit = {.rlim_cur = 64, .rlim_max = RLIM_INFINITY};

	begin();
	known(100);
	CHECK(osmem_write_profile(path) == 0);
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	CHECK(osmem_write_profile(path) == -1 && errno == EFBIG);
	pprof_read(&profile, path); /* the old one */
	end();
}

/* One call of the kernel for memory after the other fails: an error, or a profile, but no rest. */
TEST(without_memory_nothing_changes)
{
	size_t mapped, failed = 0;
	int status;

	begin();
	for (size_t i = 0; i < 3000; i++)
		known(i);
	CHECK(osmem_write_profile(path) == 0);
	for (size_t i = 1;; i++) {
		mapped = kernel.mapped;
		refuse(i, i);
		refuse_only(REFUSE_MMAP);
		status = osmem_write_profile(path);
		if (!kernel.failures)
			break;
		CHECK((status == -1 && errno == ENOMEM) || status == 0);
		failed += status == -1;
		refuse_nothing();
		CHECK_MSG(kernel.mapped == mapped, "%zu bytes are lost", kernel.mapped - mapped);
		pprof_read(&profile, path);
	}
	refuse_nothing();
	CHECK(failed >= 2);
	end();
}

/* A system call filter that refuses the copies. */
TEST(without_copies_names_are_read_in_place)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = filter};

	begin();
	free(known(100));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		test_skip("no system call filters");
	CHECK(osmem_write_profile(path) == 0);
	pprof_read(&profile, path);
	CHECK(profile.mapping_count >= 2 && profile.function_count >= 1);
	end();
}
