// SPDX-License-Identifier: BSD-3-Clause

/* refuse CALL… -- COMMAND…: execute it while the kernel refuses these system calls: EPERM. */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static const struct {
	const char *name;
	unsigned int number;
} calls[] = {
	{"clone3", SYS_clone3},
	{"clone", SYS_clone},
	{"close_range", SYS_close_range},
	{"signalfd4", SYS_signalfd4},
	{"socket", SYS_socket},
	{"bind", SYS_bind},
	{"pidfd_getfd", 438},
	{"fchmod", SYS_fchmod},
	{"prctl", SYS_prctl},
	{"accept4", SYS_accept4},
	{"poll", SYS_poll},
	{"rt_sigtimedwait", SYS_rt_sigtimedwait},
};

static struct sock_filter filter[64];
static unsigned short n;

static void add(unsigned short code, unsigned int k, unsigned char jt, unsigned char jf)
{
	filter[n++] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
}

/* clone3 is unknown to old kernels: libc then calls clone. */
static void refuse(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(calls[i].name, name) != 0)
			continue;
		add(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 1);
		add(BPF_RET | BPF_K,
		    SECCOMP_RET_ERRNO | (strcmp(name, "clone3") == 0 ? ENOSYS : EPERM), 0, 0);
	}
}

int main(int argc, char **argv)
{
	struct sock_fprog program = {.filter = filter};
	int i = 1;

	add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	for (; i < argc && strcmp(argv[i], "--") != 0; i++)
		refuse(argv[i]);
	add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	program.len = n;
	if (i + 1 >= argc || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 77;
	execvp(argv[i + 1], argv + i + 1);
	perror(argv[i + 1]);
	return 1;
}
