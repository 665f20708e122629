// SPDX-License-Identifier: BSD-3-Clause

/*
 * A C++ program: containers that are static, local or in a thread lose nothing; a raw pointer does.
 * Exceptions that were caught lose nothing, either.
 */

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static std::map<int, std::string> table;
static std::shared_ptr<std::vector<std::string>> shared;
static std::vector<std::string> *volatile never_deleted;

struct lost {
	std::unique_ptr<char[]> text{new char[32]};
	char room[472];
};

static __attribute__((noinline)) void lose()
{
	lost *p = new lost;

	__asm__ volatile("" : : "r"(p) : "memory"); /* so that neither allocation is left out */
}

static __attribute__((noinline)) void wipe()
{
	volatile char room[8192];

	for (volatile char &c : room)
		c = 0;
}

int main()
{
	for (int i = 0; i < 1000; i++)
		table[i] = std::string(static_cast<std::size_t>(i), 'x');
	shared = std::make_shared<std::vector<std::string>>(100, std::string(100, 'y'));
	never_deleted = new std::vector<std::string>(100, std::string(100, 'z'));
	std::thread([] { std::vector<std::string> local(100, std::string(100, 't')); }).join();
	try {
		throw std::runtime_error(std::string(100, 'e'));
	} catch (const std::exception &) {
	}
	lose();
	wipe();
	return 7;
}
