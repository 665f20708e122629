// SPDX-License-Identifier: BSD-3-Clause

// Allocates in known_thrower while exceptions fly, in two threads.

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

extern "C" {
__attribute__((noinline)) void known_thrower(int i);
__attribute__((noinline)) void call_thrower(int i);
}

struct keeper {
	std::string text;
	~keeper() { text += "something that is long enough to be allocated"; }
};

void known_thrower(int i)
{
	keeper k{"another text that does not fit into the string itself"};
	char *volatile p = new char[10010];

	__asm__ volatile("" ::: "memory");
	delete[] p;
	if (i % 2)
		throw std::runtime_error("a text");
}

void call_thrower(int i)
{
	known_thrower(i);
	__asm__ volatile("");
}

static void work()
{
	for (int i = 0; i < 1000; i++)
		try {
			call_thrower(i);
		} catch (const std::exception &) {
		}
}

int main()
{
	std::thread other(work);

	work();
	other.join();
}
