// SPDX-License-Identifier: BSD-3-Clause

/*
 * Binary trees built and torn down while one that lives long stays: syntax trees, indices, scene
 * graphs.
 *
 *	trees [NODES [THREADS]]
 */

#include "load.h"

#define LONG_LIVED_DEPTH 15
#define DEEPEST 14

struct node {
	struct node *left, *right;
	uint64_t value;
};

static size_t nodes;

static struct node *build(int depth)
{
	struct node *node = load_block(sizeof(*node));

	node->value = (uint64_t)depth;
	node->left = depth ? build(depth - 1) : NULL;
	node->right = depth ? build(depth - 1) : NULL;
	return node;
}

static void tear_down(struct node *node)
{
	if (!node)
		return;
	tear_down(node->left);
	tear_down(node->right);
	free(node);
}

static void work(unsigned int index)
{
	struct node *long_lived = build(LONG_LIVED_DEPTH);

	(void)index;
	for (size_t done = 0; done < nodes;) {
		for (int depth = 4; depth <= DEEPEST; depth += 2) {
			tear_down(build(depth));
			done += (size_t)2 << depth;
		}
	}
	tear_down(long_lived);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	nodes = load_argument(argc, argv, 1, 15000000) / threads;
	load_threads(threads, work);
	return 0;
}
