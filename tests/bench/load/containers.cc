// SPDX-License-Identifier: BSD-3-Clause

/*
 * C++ containers: words are counted and listed in maps, strings, vectors and lists, as in any
 * application code.
 *
 *	containers [WORDS [THREADS]]
 */

#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

extern "C" {
#include "load.h"
}

static const size_t words_of_a_page = 20000;
static size_t pages;

static std::string word(uint64_t *seed)
{
	return "word number " + std::to_string(load_below(seed, 5000)) + " of the page";
}

static size_t read_page(uint64_t *seed)
{
	std::unordered_map<std::string, std::vector<size_t>> places;
	std::map<size_t, std::list<std::string>> by_count;
	size_t sum = 0;

	for (size_t i = 0; i < words_of_a_page; i++)
		places[word(seed)].push_back(i);
	for (const auto &entry : places)
		by_count[entry.second.size()].push_back(entry.first);
	for (const auto &entry : by_count)
		sum += entry.first * entry.second.size();
	return sum;
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);

	for (size_t i = 0; i < pages; i++)
		if (read_page(&seed) != words_of_a_page)
			exit(1);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	pages = load_argument(argc, argv, 1, 1600000) / threads / words_of_a_page;
	load_threads(threads, work);
	return 0;
}
