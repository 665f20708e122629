// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program that replaces the aligned new and delete and nothing else, with an arena of its own:
 * the array, sized and nothrow forms of these then go to its pair, as in replaced.cc.
 */

#include "replaced.hh"

static const std::align_val_t align = (std::align_val_t)64;

static char arena[1 << 16] __attribute__((aligned(64)));
static size_t used;

static bool is_from_arena(const void *p)
{
	return (const char *)p >= arena && (const char *)p < arena + sizeof(arena);
}

void *operator new(size_t size, std::align_val_t)
{
	void *p = arena + used;

	size = (size + 63) & ~(size_t)63;
	if (size > sizeof(arena) - used)
		throw std::bad_alloc();
	used += size;
	news++;
	return p;
}

void operator delete(void *p, std::align_val_t) noexcept
{
	if (!is_from_arena(p))
		die("aligned delete met a pointer that is not from the program's own new");
	deletes++;
}

int main()
{
	::operator delete(sink = ::operator new(size, align), align);
	expect(1, "aligned");
	::operator delete(sink = ::operator new(size, align), (size_t)size, align);
	expect(2, "sized");
	::operator delete[](sink = ::operator new[](size, align), align);
	expect(3, "array");
	::operator delete[](sink = ::operator new[](size, align), (size_t)size, align);
	expect(4, "array sized");
	::operator delete(sink = ::operator new(size, align, std::nothrow), align, std::nothrow);
	expect(5, "nothrow");
	::operator delete[](sink = ::operator new[](size, align, std::nothrow), align,
			    std::nothrow);
	expect(6, "array nothrow");
	if (::operator new(sizeof(arena) + 1, align, std::nothrow))
		die("nothrow new gave memory that the program's own new refused");
	::operator delete(sink = ::operator new(size));
	expect(6, "plain, which is a pair of its own");
	return is_from_arena(sink);
}
