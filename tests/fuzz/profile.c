// SPDX-License-Identifier: BSD-3-Clause

/*
 * heapview's reader of profiles, for libFuzzer, and all that is made of them: pages, pictures,
 * text, and a comparison of the profile with itself, in which nothing differs.
 */

#include <stdlib.h>

#include "fuzz.h"
#include "tools/profile.h"

static void add(struct tree *t, const uint8_t *data, size_t size, int side)
{
	struct profile_error error;
	struct profile p;

	if (profile_read(&p, data, size, &error) == 0)
		tree_add(t, &p, side, "/nowhere");
	else if (!error.text || error.at > size)
		abort();
	profile_free(&p);
}

static void write_all(const struct tree *t)
{
	static FILE *nothing;

	if (!nothing)
		nothing = fopen("/dev/null", "we");
	profile_page(nothing, t, "a title");
	profile_svg(nothing, t, "a title");
	profile_text(nothing, t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tree t;

	tree_init(&t);
	add(&t, data, size, NEW);
	tree_finish(&t, 20);
	write_all(&t);
	tree_free(&t);

	tree_init(&t);
	add(&t, data, size, OLD);
	add(&t, data, size, NEW);
	tree_finish(&t, 1000);
	for (int k = 0; k < MEASURES; k++)
		if (t.nodes[0].total[OLD][k] != t.nodes[0].total[NEW][k])
			abort();
	write_all(&t);
	tree_free(&t);
	return 0;
}
