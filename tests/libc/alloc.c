// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* malloc, calloc, realloc, reallocarray, free and its sized sisters: one process, one thread. */

#include "libc_common.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>

#include "osmem.h"

/* C23; glibc 2.36 does not declare them. */
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

/* On both sides of every border between the kinds of blocks an allocator may have. */
static const size_t sizes[] = {
	1,	8,	15,	16,	17,	 24,	  100,	   255,	    256,      1000,
	1024,	4000,	4096,	8192,	10000,	 32768,	  33000,   65536,   100000,   131071,
	131072, 131073, 200000, 500000, 1048576, 1500000, 4194304, 5000000, 33554432,
};

TEST(every_name_is_ours)
{
	static const char *const names[] = {
		"malloc",
		"calloc",
		"realloc",
		"reallocarray",
		"free",
		"free_sized",
		"free_aligned_sized",
		"aligned_alloc",
		"memalign",
		"posix_memalign",
		"valloc",
		"pvalloc",
		"malloc_usable_size",
		"malloc_trim",
		"mallopt",
		"mallinfo",
		"mallinfo2",
		"malloc_stats",
		"malloc_info",
	};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		CHECK_MSG(is_ours(names[i]), "%s is not libosmem's", names[i]);
}

TEST(malloc_zero_is_unique)
{
	void *p[1000];

	for (size_t i = 0; i < COUNT_OF(p); i++) {
		p[i] = malloc(0);
		CHECK(p[i] != NULL);
		for (size_t j = 0; j < i; j++)
			CHECK(p[j] != p[i]);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
}

TEST(malloc_aligns_to_16_at_every_small_size)
{
	static void *p[10001];

	for (size_t size = 0; size < COUNT_OF(p); size++) {
		p[size] = malloc(size);
		CHECK_MSG(p[size] && is_aligned(p[size], 16), "malloc(%zu) = %p", size, p[size]);
		fill(p[size], size, (unsigned int)size);
	}
	for (size_t size = 0; size < COUNT_OF(p); size++) {
		CHECK_MSG(is_filled(p[size], size, (unsigned int)size), "%zu bytes changed", size);
		free(p[size]);
	}
}

TEST(malloc_aligns_to_16_at_big_sizes)
{
	for (size_t size = 16384; size <= 512 * MIB; size *= 2) {
		for (size_t delta = 0; delta <= 48; delta += 8) {
			char *p = malloc(size - 24 + delta);

			CHECK_MSG(p && is_aligned(p, 16), "malloc(%zu) = %p", size - 24 + delta,
				  (void *)p);
			p[0] = 1;
			p[size - 25 + delta] = 1;
			free(p);
		}
	}
}

static void check_too_large(volatile size_t size)
{
	errno = 0;
	CHECK_MSG(malloc(size) == NULL, "malloc(%#zx) is not NULL", size);
	CHECK_MSG(errno == ENOMEM, "malloc(%#zx): errno %d", size, errno);
	errno = 0;
	CHECK_MSG(calloc(1, size) == NULL, "calloc(1, %#zx) is not NULL", size);
	CHECK_MSG(errno == ENOMEM, "calloc(1, %#zx): errno %d", size, errno);
}

TEST(malloc_too_large_is_enomem)
{
	for (size_t k = 0; k <= 4096; k++) {
		check_too_large(SIZE_MAX - k);
		check_too_large((size_t)PTRDIFF_MAX + k);
		check_too_large((size_t)PTRDIFF_MAX - k);
	}
	free(malloc(100));
}

/* No machine has that much, but small multiples of some of it are small again. */
static void check_hopeless(void *p, volatile size_t size)
{
	void *q = NULL;

	check_too_large(size);
	errno = 0;
	CHECK_MSG(!aligned_alloc(64, size) && errno == ENOMEM, "aligned_alloc(64, %#zx)", size);
	errno = 0;
	CHECK_MSG(!memalign(16 * KIB, size) && errno == ENOMEM, "memalign(16384, %#zx)", size);
	CHECK_MSG(posix_memalign(&q, 4096, size) == ENOMEM, "posix_memalign of %#zx", size);
	errno = 0;
	CHECK_MSG(!realloc(p, size) && errno == ENOMEM, "realloc to %#zx", size);
	errno = 0;
	CHECK_MSG(!os_malloc(size) && errno == ENOMEM, "os_malloc(%#zx)", size);
}

TEST(sizes_whose_multiples_wrap_are_enomem)
{
	void *p = malloc(100), *q = malloc(100000), *r = malloc(MIB);

	CHECK(p && q && r);
	fill(p, 100, 1);
	fill(q, 100000, 2);
	fill(r, MIB, 3);
	for (size_t n = 2; n <= 64; n++) {
		size_t size = SIZE_MAX / n;

		for (size_t k = 0; k <= 8192; k += k < 256 ? 8 : 509) {
			check_hopeless(k % 3 ? q : r, size - k);
			check_hopeless(k % 3 ? p : q, size + 1 - k);
			check_hopeless(k % 3 ? r : p, size + k);
		}
	}
	for (int i = 0; i < 100; i++) {
		char *block = malloc((size_t)i * 5000 + 1);

		CHECK(block);
		memset(block, i, (size_t)i * 5000 + 1);
	}
	CHECK(is_filled(p, 100, 1) && is_filled(q, 100000, 2) && is_filled(r, MIB, 3));
}

/* Where the machine's addresses end: success is possible in theory, a crash is not. */
TEST(malloc_near_the_end_of_addresses)
{
	for (int bit = 40; bit < 63; bit++) {
		for (size_t k = 0; k <= 8192; k += 1024) {
			char *p = malloc(((size_t)1 << bit) - k);

			CHECK(p || errno == ENOMEM);
			if (p)
				p[0] = 1;
			free(p);
		}
	}
}

TEST(calloc_overflow_is_enomem)
{
	static const size_t pairs[][2] = {
		{SIZE_MAX / 2 + 1, 2},
		{2, SIZE_MAX / 2 + 1},
		{SIZE_MAX, SIZE_MAX},
		{(size_t)1 << 32, (size_t)1 << 32},
		{((size_t)1 << 32) + 1, (size_t)1 << 32},
		{SIZE_MAX, 2},
		{SIZE_MAX / 3 + 2, 3},
		{PTRDIFF_MAX, 2},
		{SIZE_MAX / 16 + 2, 16},
	};

	for (size_t i = 0; i < COUNT_OF(pairs); i++) {
		volatile size_t n = pairs[i][0], size = pairs[i][1];

		errno = 0;
		CHECK_MSG(calloc(n, size) == NULL, "calloc(%#zx, %#zx) is not NULL", n, size);
		CHECK_MSG(errno == ENOMEM, "calloc(%#zx, %#zx): errno %d", n, size, errno);
	}
}

TEST(calloc_zero_is_unique)
{
	void *a = calloc(0, 8), *b = calloc(8, 0), *c = calloc(0, 0);

	CHECK(a && b && c && a != b && b != c && a != c);
	free(a);
	free(b);
	free(c);
}

static void dirty_and_free(size_t size, size_t count)
{
	void *p[16];

	for (size_t i = 0; i < count; i++) {
		p[i] = malloc(size);
		CHECK(p[i] != NULL);
		memset(p[i], 0xff, malloc_usable_size(p[i]));
	}
	for (size_t i = 0; i < count; i++)
		free(p[i]);
}

TEST(calloc_is_zero_after_dirt)
{
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			size_t count = sizes[i] < MIB ? 16 : 2;
			void *p[16];

			dirty_and_free(sizes[i], count);
			for (size_t j = 0; j < count; j++) {
				p[j] = calloc(1, sizes[i]);
				CHECK(p[j] && is_aligned(p[j], 16));
				CHECK_MSG(is_zero(p[j], sizes[i]), "calloc(1, %zu) is not zero",
					  sizes[i]);
				memset(p[j], 0xff, sizes[i]);
			}
			for (size_t j = 0; j < count; j++)
				free(p[j]);
		}
	}
}

TEST(calloc_does_not_write_fresh_memory)
{
	size_t before = resident_bytes();
	char *p = calloc(256, MIB);

	CHECK(p != NULL);
	CHECK(resident_bytes() < before + 16 * MIB);
	CHECK(p[0] == 0 && p[100 * MIB] == 0 && p[256 * MIB - 1] == 0);
	free(p);
}

TEST(realloc_null_is_malloc)
{
	void *p = realloc(NULL, 100), *q = realloc(NULL, 0);

	CHECK(p && is_aligned(p, 16));
	CHECK(q != NULL && q != p);
	fill(p, 100, 1);
	free(p);
	free(q);
}

TEST(realloc_zero_frees_and_returns_null)
{
	size_t before = 0;

	for (int i = 0; i < 3000; i++) {
		char *p = malloc(i % 3 ? 200000 : 2 * MIB);

		CHECK(p != NULL);
		memset(p, 1, 200000);
		CHECK(realloc(p, 0) == NULL);
		if (i == 1000)
			before = resident_bytes();
	}
	CHECK(resident_bytes() < before + 16 * MIB);
}

TEST(realloc_failure_leaves_the_block)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		void *p = malloc(sizes[i]);

		CHECK(p != NULL);
		fill(p, sizes[i], 3);
		for (volatile size_t k = 0; k <= 4096; k += 256) {
			errno = 0;
			CHECK(realloc(p, SIZE_MAX - k) == NULL && errno == ENOMEM);
			errno = 0;
			CHECK(realloc(p, (size_t)PTRDIFF_MAX - k) == NULL && errno == ENOMEM);
		}
		CHECK(malloc_usable_size(p) >= sizes[i]);
		CHECK(is_filled(p, sizes[i], 3));
		free(p);
	}
}

static void check_resize(size_t from, size_t to)
{
	size_t kept = from < to ? from : to;
	void *p = malloc(from), *q;

	CHECK(p != NULL);
	fill(p, from, (unsigned int)from);
	q = realloc(p, to);
	CHECK_MSG(q && is_aligned(q, 16), "realloc from %zu to %zu gave %p", from, to, q);
	CHECK_MSG(is_filled(q, kept, (unsigned int)from), "realloc from %zu to %zu lost bytes",
		  from, to);
	fill(q, to, 5);
	free(q);
}

TEST(realloc_keeps_contents_in_all_directions)
{
	/* The last one, 32 MiB, against a few only: filling it takes long. */
	for (size_t i = 0; i + 1 < COUNT_OF(sizes); i++)
		for (size_t j = 0; j + 1 < COUNT_OF(sizes); j++)
			check_resize(sizes[i], sizes[j]);
	check_resize(100, 32 * MIB);
	check_resize(32 * MIB, 100);
	check_resize(32 * MIB, 64 * MIB);
}

/* The kernel resizes no mapping whose parts have come to differ; the block moves instead. */
static void check_resize_of_split_mapping(char *p, size_t old, size_t size)
{
	size_t kept = old < size ? old : size;
	char *q = realloc(p, size);

	CHECK_MSG(q, "realloc from %zu to %zu: %s", old, size, strerror(errno));
	CHECK(is_filled(q, kept, 8));
	fill(q, size, 9);
	CHECK(is_filled(q, size, 9));
	free(q);
}

/* A filled block in a mapping of its own; *inside is a page somewhere in the middle of it. */
static char *map_filled(size_t size, char **inside)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	char *p;

	CHECK(mallopt(M_MMAP_THRESHOLD, 128 << 10) == 1);
	p = malloc(size);
	CHECK(p != NULL);
	fill(p, size, 8);
	*inside = (char *)(((uintptr_t)p + size / 2) & ~(page - 1));
	return p;
}

TEST(realloc_of_a_mapping_partly_kept_from_dumps)
{
	static const size_t to[] = {2 * MIB, 20 * MIB, 400 * KIB, 100};

	for (size_t i = 0; i < COUNT_OF(to); i++) {
		char *inside, *p = map_filled(MIB, &inside);

		CHECK(madvise(inside, 64 * KIB, MADV_DONTDUMP) == 0);
		check_resize_of_split_mapping(p, MIB, to[i]);
	}
}

TEST(realloc_of_a_mapping_partly_protected)
{
	char *inside, *p = map_filled(MIB, &inside);

	CHECK(mprotect(inside, 64 * KIB, PROT_READ) == 0);
	check_resize_of_split_mapping(p, MIB, 2 * MIB);
}

TEST(realloc_step_by_step)
{
	size_t size = 1;
	char *p = malloc(size);

	CHECK(p != NULL);
	fill(p, size, 9);
	while (size < 16 * MIB) {
		size_t next = size + size / 3 + 1;

		p = realloc(p, next);
		CHECK(p && is_filled(p, size, 9));
		fill(p, next, 9);
		size = next;
	}
	while (size > 1) {
		size -= size / 3 + 1 < size ? size / 3 + 1 : size - 1;
		p = realloc(p, size);
		CHECK(p && is_filled(p, size, 9));
	}
	free(p);
}

/* Neighbours must not notice. */
TEST(realloc_between_neighbours)
{
	uint64_t state = 42;
	struct {
		void *p;
		size_t size;
	} block[64] = {0};

	for (unsigned int i = 0; i < 200000; i++) {
		size_t n = i % COUNT_OF(block), limit = (size_t)16 << random_next(&state) % 14;
		size_t size = random_next(&state) % limit + 1;
		size_t kept = size < block[n].size ? size : block[n].size;

		block[n].p = realloc(block[n].p, size);
		CHECK(block[n].p && is_filled(block[n].p, kept, (unsigned int)n));
		fill(block[n].p, size, (unsigned int)n);
		block[n].size = size;
	}
	for (size_t n = 0; n < COUNT_OF(block); n++)
		free(block[n].p);
}

TEST(reallocarray_overflow_is_enomem)
{
	char *p = malloc(100);
	volatile size_t half = SIZE_MAX / 2 + 1;

	CHECK(p != NULL);
	fill(p, 100, 1);
	errno = 0;
	CHECK(reallocarray(p, half, 2) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(reallocarray(p, 3, half) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(reallocarray(p, half - 1, 1) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(reallocarray(NULL, half, half) == NULL && errno == ENOMEM);
	CHECK(is_filled(p, 100, 1));
	free(p);
}

TEST(reallocarray_resizes)
{
	char *p = reallocarray(NULL, 10, 10);

	CHECK(p != NULL);
	fill(p, 100, 1);
	p = reallocarray(p, 1000, 1000);
	CHECK(p && is_filled(p, 100, 1));
	p = reallocarray(p, 5, 4);
	CHECK(p && is_filled(p, 20, 1));
	CHECK(reallocarray(p, 0, 4) == NULL);
}

TEST(free_null_is_nothing)
{
	errno = 4242;
	free(NULL);
	free_sized(NULL, 10);
	free_aligned_sized(NULL, 64, 64);
	CHECK(errno == 4242);
}

TEST(free_preserves_errno)
{
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			void *p = malloc(sizes[i]), *q = memalign(8192, sizes[i]);

			CHECK(p && q);
			errno = 4242;
			free(p);
			free(q);
			CHECK_MSG(errno == 4242, "size %zu: errno %d", sizes[i], errno);
		}
	}
	for (size_t size = 64 * MIB; size <= 512 * MIB; size *= 2) {
		void *p = malloc(size);

		CHECK(p != NULL);
		errno = 4242;
		free(p);
		CHECK(errno == 4242);
	}
}

TEST(free_sized_frees)
{
	size_t before = 0;

	for (size_t i = 0; i < 20000; i++) {
		size_t size = i % 20 ? i % 5000 : 300000;
		void *p = malloc(size);

		CHECK(p != NULL);
		memset(p, 1, size);
		errno = 4242;
		free_sized(p, size);
		CHECK(errno == 4242);
		if (i == 10000)
			before = resident_bytes();
	}
	CHECK(resident_bytes() < before + 4 * MIB);
}

TEST(free_aligned_sized_frees)
{
	size_t before = 0;

	for (size_t i = 0; i < 20000; i++) {
		size_t align = (size_t)16 << i % 12, size = align * (i % 7 + 1);
		void *p = aligned_alloc(align, size);

		CHECK(p && is_aligned(p, align));
		memset(p, 1, size);
		errno = 4242;
		free_aligned_sized(p, align, size);
		CHECK(errno == 4242);
		if (i == 10000)
			before = resident_bytes();
	}
	CHECK(resident_bytes() < before + 4 * MIB);
}

/* What is live at a place of the random test below. */
struct slot {
	void *p;
	size_t size;
	unsigned int seed;
};

static size_t random_size(uint64_t *state)
{
	uint64_t r = random_next(state);

	if (r % 1000 == 0)
		return (r >> 16) % (2 * MIB);
	if (r % 20 == 0)
		return (r >> 16) % 100000;
	return (r >> 16) % ((size_t)16 << (r >> 60 & 7));
}

static void *allocate_somehow(uint64_t r, size_t size)
{
	void *p = NULL;

	switch (r % 8) {
	case 0:
		p = calloc(1, size);
		CHECK(p && is_zero(p, size));
		return p;
	case 1:
		p = memalign((size_t)1 << (r >> 8) % 14, size);
		CHECK(p && is_aligned(p, (size_t)1 << (r >> 8) % 14));
		return p;
	case 2:
		CHECK(posix_memalign(&p, 64, size) == 0 && is_aligned(p, 64));
		return p;
	case 3:
		return realloc(NULL, size);
	default:
		return malloc(size);
	}
}

static void replace(struct slot *slot, uint64_t *state)
{
	size_t size = random_size(state);
	size_t kept = size < slot->size ? size : slot->size;

	CHECK(slot->p == NULL || is_filled(slot->p, slot->size, slot->seed));
	if (slot->p && size && random_next(state) % 4 == 0) {
		slot->p = realloc(slot->p, size);
		CHECK(slot->p && is_filled(slot->p, kept, slot->seed));
	} else {
		free(slot->p);
		slot->p = allocate_somehow(random_next(state), size);
	}
	CHECK(slot->p && is_aligned(slot->p, 16));
	slot->size = size;
	slot->seed = (unsigned int)random_next(state);
	fill(slot->p, size, slot->seed);
}

TEST(random_calls_keep_every_byte)
{
	static struct slot slots[4096];

	for (uint64_t seed = 1; seed <= 3; seed++) {
		uint64_t state = seed;

		for (int i = 0; i < 300000; i++)
			replace(&slots[random_next(&state) % COUNT_OF(slots)], &state);
		for (size_t i = 0; i < COUNT_OF(slots); i++) {
			CHECK(is_filled(slots[i].p, slots[i].size, slots[i].seed));
			free(slots[i].p);
			slots[i] = (struct slot){0};
		}
	}
}
