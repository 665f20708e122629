// SPDX-License-Identifier: BSD-3-Clause

/*
 * Every form of operator new and delete, called by its own signature. "forms" lists the tests,
 * "forms NAME" runs one: exit status 0, or a line that says what was wrong and 1.
 */

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <map>
#include <new>
#include <string>
#include <thread>
#include <vector>

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("line %d: %s\n", __LINE__, #cond);                                  \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

using std::align_val_t;
using std::nothrow;

/* More than any allocator may give; volatile, or the compiler warns that it can never work. */
static volatile size_t huge = PTRDIFF_MAX;
static volatile size_t small = 100;

/* Compilers leave out an allocation that nobody looks at. */
static void *volatile sink;

static void check_block(void *p, size_t size, size_t align)
{
	CHECK(p != nullptr);
	CHECK((uintptr_t)p % align == 0);
	CHECK(malloc_usable_size(p) >= size);
	memset(p, 0x5a, size);
}

static void is_ours()
{
	void *(*form)(size_t) = &::operator new;
	Dl_info info;

	CHECK(dladdr((void *)form, &info) != 0);
	CHECK(strstr(info.dli_fname, "libosmem") != nullptr);
}

static void plain()
{
	void *p = ::operator new(small);

	check_block(p, small, 16);
	::operator delete(p);
	p = ::operator new(small);
	::operator delete(p, (size_t)small);
	p = ::operator new(small);
	::operator delete(p, nothrow);
}

static void plain_array()
{
	void *p = ::operator new[](small);

	check_block(p, small, 16);
	::operator delete[](p);
	p = ::operator new[](small);
	::operator delete[](p, (size_t)small);
	p = ::operator new[](small);
	::operator delete[](p, nothrow);
}

static void plain_nothrow()
{
	void *p = ::operator new(small, nothrow);

	check_block(p, small, 16);
	::operator delete(p, nothrow);
	p = ::operator new[](small, nothrow);
	check_block(p, small, 16);
	::operator delete[](p, nothrow);
}

static void aligned()
{
	for (size_t align = 1; align <= 1 << 20; align *= 2) {
		align_val_t a = (align_val_t)align;
		void *p = ::operator new(small, a);

		check_block(p, small, align);
		::operator delete(p, a);
		p = ::operator new(small, a);
		::operator delete(p, small, a);
		p = ::operator new(small, a);
		::operator delete(p, a, nothrow);
	}
}

static void aligned_array()
{
	for (size_t align = 1; align <= 1 << 20; align *= 2) {
		align_val_t a = (align_val_t)align;
		void *p = ::operator new[](small, a);

		check_block(p, small, align);
		::operator delete[](p, a);
		p = ::operator new[](small, a);
		::operator delete[](p, small, a);
		p = ::operator new[](small, a);
		::operator delete[](p, a, nothrow);
	}
}

static void aligned_nothrow()
{
	for (size_t align = 1; align <= 1 << 20; align *= 2) {
		align_val_t a = (align_val_t)align;
		void *p = ::operator new(small, a, nothrow);

		check_block(p, small, align);
		::operator delete(p, a, nothrow);
		p = ::operator new[](small, a, nothrow);
		check_block(p, small, align);
		::operator delete[](p, a, nothrow);
	}
}

static void size_zero_unique()
{
	void *a = ::operator new(0), *b = ::operator new(0), *c = ::operator new[](0, nothrow);
	void *d = ::operator new(0, (align_val_t)64);

	CHECK(a && b && c && d && a != b && b != c && a != c && c != d);
	::operator delete(a);
	::operator delete(b);
	::operator delete[](c);
	::operator delete(d, (align_val_t)64);
}

static void delete_null()
{
	void *p = nullptr;
	align_val_t a = (align_val_t)64;

	::operator delete(p);
	::operator delete(p, (size_t)1);
	::operator delete(p, nothrow);
	::operator delete(p, a);
	::operator delete(p, 1, a);
	::operator delete(p, a, nothrow);
	::operator delete[](p);
	::operator delete[](p, (size_t)1);
	::operator delete[](p, nothrow);
	::operator delete[](p, a);
	::operator delete[](p, 1, a);
	::operator delete[](p, a, nothrow);
}

static void delete_keeps_errno()
{
	void *p = ::operator new(small), *q = ::operator new(64 << 20);

	errno = 4242;
	::operator delete(p);
	::operator delete(q);
	CHECK(errno == 4242);
}

static void mixes_with_malloc()
{
	free(::operator new(small));
	::operator delete(malloc(small));
	free(::operator new(small, (align_val_t)4096));
	::operator delete(realloc(::operator new(small), 100000));
}

template <typename Call> static bool throws_bad_alloc(Call call)
{
	try {
		call();
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

static void bad_alloc()
{
	align_val_t a = (align_val_t)64;

	CHECK(throws_bad_alloc([] { sink = ::operator new(huge); }));
	CHECK(throws_bad_alloc([] { sink = ::operator new[](huge); }));
	CHECK(throws_bad_alloc([a] { sink = ::operator new(huge, a); }));
	CHECK(throws_bad_alloc([a] { sink = ::operator new[](huge, a); }));
	CHECK(throws_bad_alloc([] { sink = ::operator new(huge * 2 + 1); }));
	CHECK(throws_bad_alloc([] { std::vector<char> v(huge - 1); }));
}

static void nothrow_null()
{
	align_val_t a = (align_val_t)64;

	CHECK(::operator new(huge, nothrow) == nullptr);
	CHECK(::operator new[](huge, nothrow) == nullptr);
	CHECK(::operator new(huge, a, nothrow) == nullptr);
	CHECK(::operator new[](huge, a, nothrow) == nullptr);
}

static void alignment_no_power_of_two()
{
	for (size_t align : {0, 3, 24, 4095}) {
		align_val_t a = (align_val_t)align;

		CHECK(throws_bad_alloc([a] { sink = ::operator new(small, a); }));
		CHECK(throws_bad_alloc([a] { sink = ::operator new[](small, a); }));
		CHECK(::operator new(small, a, nothrow) == nullptr);
		CHECK(::operator new[](small, a, nothrow) == nullptr);
	}
}

static int handler_calls;

static void leave_at_third_call()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

static void handler_is_called_until_none()
{
	align_val_t a = (align_val_t)64;

	std::set_new_handler(leave_at_third_call);
	CHECK(throws_bad_alloc([] { sink = ::operator new(huge); }));
	CHECK(handler_calls == 3);
	handler_calls = 0;
	std::set_new_handler(leave_at_third_call);
	CHECK(throws_bad_alloc([a] { sink = ::operator new[](huge, a); }));
	CHECK(handler_calls == 3);
	handler_calls = 0;
	std::set_new_handler(leave_at_third_call);
	CHECK(::operator new(huge, nothrow) == nullptr);
	CHECK(handler_calls == 3);
	handler_calls = 0;
	std::set_new_handler(leave_at_third_call);
	CHECK(::operator new[](huge, a, nothrow) == nullptr);
	CHECK(handler_calls == 3);
}

static size_t address_space()
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%zu", &pages) == 1);
	fclose(f);
	return pages * 4096;
}

static void *reserve;

static void free_reserve()
{
	handler_calls++;
	CHECK(reserve != nullptr);
	::operator delete(reserve);
	reserve = nullptr;
}

static void handler_frees_memory()
{
	size_t limit = address_space() + (128 << 20);
	struct rlimit rlimit = {limit, limit};

	reserve = ::operator new(64 << 20);
	CHECK(setrlimit(RLIMIT_AS, &rlimit) == 0);
	std::set_new_handler(free_reserve);
	for (int i = 0; i < 1000 && handler_calls == 0; i++)
		sink = ::operator new(1 << 20);
	CHECK(handler_calls == 1);
	for (int i = 0; i < 32; i++)
		sink = ::operator new(1 << 20);
}

static void throw_int()
{
	throw 42;
}

static void throw_bad_alloc()
{
	throw std::bad_alloc();
}

static void handler_throws_through_new()
{
	int caught = 0;

	std::set_new_handler(throw_int);
	try {
		sink = ::operator new(huge);
	} catch (int n) {
		caught = n;
	}
	CHECK(caught == 42);
	caught = 0;
	try {
		sink = ::operator new[](huge, (align_val_t)64);
	} catch (int n) {
		caught = n;
	}
	CHECK(caught == 42);
}

static void handler_throws_in_nothrow()
{
	align_val_t a = (align_val_t)64;

	for (auto handler : {throw_int, throw_bad_alloc}) {
		std::set_new_handler(handler);
		CHECK(::operator new(huge, nothrow) == nullptr);
		CHECK(::operator new[](huge, nothrow) == nullptr);
		CHECK(::operator new(huge, a, nothrow) == nullptr);
		CHECK(::operator new[](huge, a, nothrow) == nullptr);
	}
}

struct refuses {
	refuses()
	{
		throw 1;
	}
	char bytes[4096];
};

struct alignas(256) refuses_aligned {
	refuses_aligned()
	{
		throw 1;
	}
	char bytes[4096];
};

template <typename Call> static void swallow(Call call)
{
	try {
		call();
	} catch (int) {
	}
}

/* A constructor that throws has its memory taken back by the delete that matches the new. */
static void constructor_throws()
{
	size_t before = 0;

	for (int i = 0; i < 2000; i++) {
		if (i == 1000)
			before = mallinfo2().uordblks;
		swallow([] { delete new refuses; });
		swallow([] { delete[] new refuses[2]; });
		swallow([] { delete new (nothrow) refuses; });
		swallow([] { delete[] new (nothrow) refuses[2]; });
		swallow([] { delete new refuses_aligned; });
		swallow([] { delete[] new (nothrow) refuses_aligned[2]; });
	}
	CHECK(mallinfo2().uordblks <= before + 65536);
}

struct alignas(64) line {
	char bytes[64];
};

static void use_containers(unsigned seed)
{
	std::map<int, std::string> map;
	std::vector<line> lines;

	for (int i = 0; i < 20000; i++) {
		seed = seed * 1664525 + 1013904223;
		map[(int)(seed >> 20)] = std::string(seed >> 24, 'x');
		if (seed & 1)
			map.erase(map.begin());
		lines.push_back(line());
		CHECK((uintptr_t)&lines.back() % 64 == 0);
	}
}

static void containers_in_threads()
{
	std::vector<std::thread> threads;

	for (unsigned i = 0; i < 8; i++)
		threads.emplace_back(use_containers, i);
	for (auto &t : threads)
		t.join();
}

static const struct {
	const char *name;
	void (*run)();
} list[] = {
	{"is_ours", is_ours},
	{"plain", plain},
	{"plain_array", plain_array},
	{"plain_nothrow", plain_nothrow},
	{"aligned", aligned},
	{"aligned_array", aligned_array},
	{"aligned_nothrow", aligned_nothrow},
	{"size_zero_unique", size_zero_unique},
	{"delete_null", delete_null},
	{"delete_keeps_errno", delete_keeps_errno},
	{"mixes_with_malloc", mixes_with_malloc},
	{"bad_alloc", bad_alloc},
	{"nothrow_null", nothrow_null},
	{"alignment_no_power_of_two", alignment_no_power_of_two},
	{"handler_is_called_until_none", handler_is_called_until_none},
	{"handler_frees_memory", handler_frees_memory},
	{"handler_throws_through_new", handler_throws_through_new},
	{"handler_throws_in_nothrow", handler_throws_in_nothrow},
	{"constructor_throws", constructor_throws},
	{"containers_in_threads", containers_in_threads},
};

int main(int argc, char **argv)
{
	for (const auto &test : list) {
		if (argc < 2)
			puts(test.name);
		else if (!strcmp(argv[1], test.name))
			test.run();
	}
	return 0;
}
