// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program that replaces new(size_t) and delete(void *) and nothing else, with an arena of its
 * own. The standard promises that the array, sized and nothrow forms then go to this pair; were one
 * of them served by anybody else, the pair would meet a pointer that is not from the arena.
 */

#include <string>
#include <vector>

#include "replaced.hh"

static char arena[1 << 24] __attribute__((aligned(16)));
static size_t used;

void *operator new(size_t size)
{
	void *p = arena + used;

	size = (size + 15) & ~(size_t)15;
	if (size > sizeof(arena) - used)
		throw std::bad_alloc();
	used += size;
	news++;
	return p;
}

void operator delete(void *p) noexcept
{
	if (!p)
		return;
	if ((char *)p < arena || (char *)p >= arena + sizeof(arena))
		die("delete met a pointer that is not from the program's own new");
	deletes++;
}

int main()
{
	news = deletes = 0;
	::operator delete(sink = ::operator new(size));
	expect(1, "plain");
	::operator delete[](sink = ::operator new[](size));
	expect(2, "array");
	::operator delete(sink = ::operator new(size, std::nothrow), std::nothrow);
	expect(3, "nothrow");
	::operator delete[](sink = ::operator new[](size, std::nothrow), std::nothrow);
	expect(4, "array nothrow");
	::operator delete(sink = ::operator new(size), (size_t)size);
	expect(5, "sized");
	::operator delete[](sink = ::operator new[](size), (size_t)size);
	expect(6, "array sized");
	sink = ::operator new(sizeof(arena), std::nothrow);
	if (sink)
		die("nothrow new gave memory that the program's own new refused");
	sink = ::operator new[](sizeof(arena), std::nothrow);
	if (sink)
		die("nothrow new[] gave memory that the program's own new refused");
	sink = ::operator new(size, (std::align_val_t)64);
	::operator delete((void *)sink, (std::align_val_t)64);
	expect(6, "aligned, which is a pair of its own");

	std::vector<std::string> strings(1000, std::string(100, 'x'));
	if (news < 1000)
		die("std::string did not use the program's own new");
	return 0;
}
