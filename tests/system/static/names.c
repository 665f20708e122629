// SPDX-License-Identifier: BSD-3-Clause

/*
 * glibc's second names in a program that is linked with the archive: they are the archive's, and no
 * second malloc comes with them.
 */

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nmemb, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);
void *__libc_memalign(size_t align, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);
int __posix_memalign(void **out, size_t align, size_t size);

/* Twice freed by the other name, or of another heap, it would be reported. */
static void use_all(void)
{
	void *p = NULL;

	free(__libc_malloc(100));
	free(__libc_calloc(10, 10));
	free(__libc_realloc(malloc(100), 20000));
	free(__libc_memalign(256, 100));
	free(__libc_valloc(100));
	free(__libc_pvalloc(100));
	if (__posix_memalign(&p, 64, 100) == 0)
		__libc_free(p);
}

int main(void)
{
	int status = -1;
	pid_t pid;

	if ((uintptr_t)__libc_malloc != (uintptr_t)malloc ||
	    (uintptr_t)__libc_free != (uintptr_t)free)
		return 1;
	use_all();
	pid = fork();
	use_all();
	if (pid == 0)
		_exit(0);
	return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 2;
}
