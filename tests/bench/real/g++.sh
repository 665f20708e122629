#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# g++ on a file of templates.

case $1 in
prepare)
	command -v g++ >/dev/null || { echo "g++ not found" && exit 77; }
	cat >big.cc <<-'EOT'
		#include <algorithm>
		#include <map>
		#include <string>
		#include <vector>
		template <int N> struct node { std::map<int, std::string> m; std::vector<node<N - 1>> v; };
		template <> struct node<0> { int n; };
		int use(node<12> &n)
		{
			n.v.resize(3);
			n.m[1] = "one";
			std::sort(n.v[0].v.begin(), n.v[0].v.end(),
				  [](const auto &a, const auto &b) { return a.m.size() < b.m.size(); });
			return (int)n.m.size();
		}
	EOT
	;;
run)
	exec g++ -c -o /dev/null big.cc
	;;
esac
