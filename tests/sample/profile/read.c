// SPDX-License-Identifier: BSD-3-Clause

/*
 * Prints a profile, a line for each sample: alloc_objects alloc_space inuse_objects inuse_space
 * thread frame;frame;… innermost first. A frame is a function's name or FILE+0xOFFSET.
 */

#include <stdarg.h>

#include "pprof.h"

static struct pprof profile;

static void print_text(uint64_t text)
{
	printf("%.*s", (int)profile.texts[text].len, profile.texts[text].at);
}

static void print_frame(const struct pprof_location *l)
{
	const struct pprof_mapping *m;

	if (l->function) {
		print_text(pprof_find_function(&profile, l->function)->name);
		return;
	}
	if (!l->mapping) {
		printf("?");
		return;
	}
	m = pprof_find_mapping(&profile, l->mapping);
	print_text(m->file);
	printf("+0x%zx", (size_t)(l->address - m->start + m->offset));
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	pprof_read(&profile, argv[1]);
	for (size_t i = 0; i < profile.sample_count; i++) {
		const struct pprof_sample *s = &profile.samples[i];

		for (size_t k = 0; k < PPROF_TYPES; k++)
			printf("%zu ", (size_t)s->values[k]);
		printf("%zu ", (size_t)s->label);
		for (size_t k = 0; k < s->depth; k++) {
			printf("%s", k ? ";" : "");
			print_frame(pprof_find_location(&profile, s->locations[k]));
		}
		printf("\n");
	}
	return 0;
}

/* The reader is made for tests: it ends at the first mistake. */
void test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "%s:%d: ", file, line);
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}
