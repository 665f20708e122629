// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* glibc's second names of the allocation functions, which wrappers of malloc call. */

#include "libc_common.h"

#include <malloc.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nmemb, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);
void *__libc_memalign(size_t align, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);
int __posix_memalign(void **out, size_t align, size_t size);

/* What is true of one name, its being noted in traces for instance, is true of the other one. */
TEST(second_names_are_the_same_functions)
{
	static const char *const names[][2] = {
		{"__libc_malloc", "malloc"},	 {"__libc_calloc", "calloc"},
		{"__libc_realloc", "realloc"},	 {"__libc_free", "free"},
		{"__libc_memalign", "memalign"}, {"__libc_valloc", "valloc"},
		{"__libc_pvalloc", "pvalloc"},	 {"__posix_memalign", "posix_memalign"},
	};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		void *second = dlsym(RTLD_DEFAULT, names[i][0]);

		CHECK_MSG(is_ours(names[i][0]), "%s is somebody else's", names[i][0]);
		CHECK_MSG(second == dlsym(RTLD_DEFAULT, names[i][1]), "%s is not %s", names[i][0],
			  names[i][1]);
	}
}

/* Blocks of either name are resized and freed by the other one. */
TEST(second_names_may_be_mixed_with_the_first)
{
	static const size_t sizes[] = {1, 100, 5000, 50000, 300000};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t size = sizes[i];
		void *p = NULL;

		CHECK(__posix_memalign(&p, 64, size) == 0 && is_aligned(p, 64));
		free(p);
		free(__libc_memalign(256, size));
		free(__libc_valloc(size));
		__libc_free(pvalloc(size));
		free(__libc_pvalloc(size));
		p = __libc_malloc(size);
		CHECK(p && malloc_usable_size(p) >= size);
		fill(p, size, 1);
		p = realloc(p, 2 * size);
		CHECK(p && is_filled(p, size, 1));
		p = __libc_realloc(p, 3 * size);
		CHECK(p && is_filled(p, size, 1));
		free(p);
		p = __libc_calloc(1, size);
		CHECK(p && is_zero(p, size));
		__libc_free(p);
		__libc_free(malloc(size));
	}
}
