// SPDX-License-Identifier: BSD-3-Clause

/*
 * A C++ plugin with objects that live as long as it is loaded, and others as long as a thread:
 * their destructors may run when the thread ends, with the plugin closed before.
 */

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

extern "C" {
__attribute__((visibility("default"))) char *plugin_block;
__attribute__((visibility("default"))) void plugin_use();
}

namespace
{

struct Holder {
	std::map<std::string, std::unique_ptr<std::vector<int>>> values;

	~Holder()
	{
		std::string last;

		for (auto &value : values)
			last += value.first + std::to_string(value.second->size());
		if (last.size() < values.size())
			abort();
	}

	void add(int i)
	{
		values["a rather long key " + std::to_string(i)] =
			std::make_unique<std::vector<int>>(i * 10, i);
	}
};

struct Block {
	Block()
	{
		plugin_block = new char[5000];
		memset(plugin_block, 7, 5000);
	}

	~Block()
	{
		if (plugin_block[0] != 7 || plugin_block[4999] != 7)
			abort();
		delete[] plugin_block;
	}
};

Block block;
thread_local Holder holder;

} // namespace

void plugin_use()
{
	for (int i = 1; i < 50; i++)
		holder.add(i);
}
