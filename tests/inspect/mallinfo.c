// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* mallinfo, mallinfo2, malloc_stats, malloc_info. */

#include "libc_common.h"

#include <ctype.h>
#include <errno.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "osmem.h"

/* ---- mallinfo and mallinfo2 ---- */

static size_t in_use(struct mallinfo2 info)
{
	return info.uordblks + info.hblkhd;
}

static void check_figures_of(size_t size, size_t count)
{
	static void *p[10000];
	size_t before = in_use(mallinfo2()), with, after;

	for (size_t i = 0; i < count; i++) {
		p[i] = malloc(size);
		CHECK(p[i] != NULL);
	}
	with = in_use(mallinfo2()) - before;
	CHECK_MSG(with >= size * count, "%zu blocks of %zu count as %zu", count, size, with);
	CHECK_MSG(with <= (size + size / 4 + 48) * count + 64 * KIB,
		  "%zu blocks of %zu count as %zu", count, size, with);
	for (size_t i = 0; i < count; i++)
		free(p[i]);
	after = in_use(mallinfo2());
	CHECK_MSG(after <= before + 64 * KIB, "%zu blocks of %zu: %zu before, %zu after", count,
		  size, before, after);
}

TEST(mallinfo2_counts_what_is_live)
{
	test_needs_small_pages();
	check_figures_of(100, 10000);
	check_figures_of(1000, 10000);
	check_figures_of(10000, 1000);
	check_figures_of(100000, 100);
	check_figures_of(4 * MIB, 10);
}

TEST(mallinfo2_adds_up)
{
	struct mallinfo2 info;
	void *p[100];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = malloc(i * 1000);
	for (size_t i = 0; i < COUNT_OF(p); i += 2)
		free(p[i]);
	info = mallinfo2();
	CHECK_MSG(info.arena == info.uordblks + info.fordblks, "arena %zu, used %zu, free %zu",
		  info.arena, info.uordblks, info.fordblks);
	CHECK(info.keepcost <= info.fordblks);
	for (size_t i = 1; i < COUNT_OF(p); i += 2)
		free(p[i]);
}

/* Cells: what is live, and what waits in this thread's cache. */
TEST(mallinfo2_counts_cells)
{
	static void *p[1000];
	struct mallinfo2 before = mallinfo2(), with, after;

	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = malloc(160)));
	with = mallinfo2();
	CHECK(with.uordblks == before.uordblks + 160 * COUNT_OF(p));
	CHECK(with.arena == with.uordblks + with.fordblks && with.arena >= before.arena);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	after = mallinfo2();
	CHECK(after.uordblks == before.uordblks);
	CHECK(after.arena == after.uordblks + after.fordblks);
	CHECK_MSG(after.smblks > before.smblks && after.fsmblks > before.fsmblks,
		  "%zu cells of %zu bytes wait", after.smblks, after.fsmblks);
	CHECK(after.fsmblks >= 16 * after.smblks && after.fsmblks <= after.fordblks);
	malloc_trim(0);
	after = mallinfo2();
	CHECK(after.uordblks == before.uordblks && after.smblks == 0 && after.fsmblks == 0);
}

TEST(mallinfo2_counts_mappings)
{
	struct mallinfo2 before = mallinfo2(), with;
	void *p;

	CHECK(mallopt(M_MMAP_THRESHOLD, 128 << 10) == 1);
	p = malloc(64 * MIB);
	CHECK(p != NULL);
	with = mallinfo2();
	CHECK(with.hblks == before.hblks + 1);
	CHECK(with.hblkhd >= before.hblkhd + 64 * MIB);
	CHECK(with.hblkhd < before.hblkhd + 65 * MIB);
	free(p);
	CHECK(mallinfo2().hblks == before.hblks);
}

/* A freed span stays with its thread, a freed mapping is kept: both are free, until a trim. */
TEST(mallinfo2_counts_what_is_kept_as_free)
{
	struct mallinfo2 before, after, trimmed;
	void *span, *mapping;

	malloc_trim(0);
	before = mallinfo2();
	span = malloc(100000);
	mapping = malloc(4 * MIB);
	CHECK(span && mapping);
	free(span);
	free(mapping);
	after = mallinfo2();
	CHECK(after.uordblks == before.uordblks && after.hblkhd == before.hblkhd);
	CHECK(after.arena == after.uordblks + after.fordblks);
	CHECK_MSG(after.fordblks >= before.fordblks + 100000 + 4 * MIB, "%zu, then %zu",
		  before.fordblks, after.fordblks);
	CHECK(after.ordblks > before.ordblks && after.keepcost >= before.keepcost + 4 * MIB);
	malloc_trim(0);
	trimmed = mallinfo2();
	CHECK_MSG(trimmed.fordblks < after.fordblks - 4 * MIB, "%zu, trimmed %zu", after.fordblks,
		  trimmed.fordblks);
	CHECK(trimmed.uordblks == before.uordblks);
}

/* The old interface warns that its figures may wrap around; these are small. */
TEST(mallinfo_is_mallinfo2_in_int)
{
	void *p = malloc(100000);
	struct mallinfo2 wide = mallinfo2();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop

	CHECK(p != NULL);
	CHECK((size_t)narrow.arena == wide.arena && (size_t)narrow.ordblks == wide.ordblks);
	CHECK((size_t)narrow.hblks == wide.hblks && (size_t)narrow.hblkhd == wide.hblkhd);
	CHECK((size_t)narrow.uordblks == wide.uordblks && (size_t)narrow.fordblks == wide.fordblks);
	CHECK((size_t)narrow.keepcost == wide.keepcost);
	CHECK((size_t)narrow.smblks == wide.smblks && (size_t)narrow.fsmblks == wide.fsmblks);
	free(p);
}

/* ---- malloc_stats and malloc_info ---- */

/* The largest number in a text. */
static size_t largest_number(const char *text)
{
	size_t largest = 0;

	while (*text) {
		char *end;
		size_t n;

		if (!isdigit((unsigned char)*text)) {
			text++;
			continue;
		}
		n = strtoul(text, &end, 10);
		largest = n > largest ? n : largest;
		text = end;
	}
	return largest;
}

static void say_stats(void *arg)
{
	void *p = malloc(*(size_t *)arg);

	CHECK(p != NULL);
	malloc_stats();
	free(p);
}

TEST(malloc_stats_writes_true_figures_to_stderr)
{
	static char text[65536];
	size_t size = 77 * MIB;
	int status = test_in_child(say_stats, &size, text, sizeof(text));

	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(strlen(text) > 0 && text[strlen(text) - 1] == '\n');
	CHECK_MSG(largest_number(text) >= size && largest_number(text) < 2 * size, "%.300s", text);
}

/* Behind the first occurrence of name in the text. */
static const char *figure_at(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	CHECK_MSG(at, "no \"%s\" in %.300s", name, text);
	return at + strlen(name);
}

static void check_refused(const void *p)
{
	CHECK(p == NULL && errno == ENOMEM);
	errno = 0;
}

static void be_refused(size_t size, size_t align)
{
	errno = 0;
	check_refused(malloc(size));
	check_refused(calloc(1, size));
	check_refused(memalign(align, size));
	check_refused(os_malloc(size));
	check_refused(os_calloc(1, size));
}

/* By the sizes' checks, by the kernel for a mapping, and by the kernel for a region. */
static void say_stats_around_refusals(void *arg)
{
	size_t half = PTRDIFF_MAX / 2, most = PTRDIFF_MAX - 8192;

	(void)arg;
	CHECK(malloc(100) && os_malloc(100));
	malloc_stats();
	be_refused(half, 64);
	be_refused(most, 4096);
	be_refused((size_t)PTRDIFF_MAX + 1, 64);
	limit_addresses(mapped_bytes() + 16 * MIB);
	be_refused(64 * MIB, 4096);
	CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 30) == 1);
	be_refused(64 * MIB, 4096);
	malloc_stats();
}

TEST(malloc_stats_counts_no_refusals)
{
	static const char *const names[] = {"blocks allocated", "live blocks", "mapped blocks",
					    "live cells", "live bytes in cells"};
	static char text[65536];
	int status = test_in_child(say_stats_around_refusals, NULL, text, sizeof(text));

	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%.300s", text);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		const char *before = figure_at(text, names[i]),
			   *after = figure_at(before, names[i]);
		int length = (int)strcspn(before, "\n");

		CHECK_MSG(!strncmp(before, after, (size_t)length + 1), "%s:%.*s, then%.*s",
			  names[i], length, before, length, after);
	}
}

/* The text malloc_info writes, in static memory. */
static const char *info_text(void)
{
	static char text[1 << 20];
	FILE *f = fmemopen(text, sizeof(text), "w");

	CHECK(f != NULL);
	CHECK(malloc_info(0, f) == 0);
	CHECK(fclose(f) == 0);
	return text;
}

/* The element's name at p, of at most 63 characters. */
static const char *take_name(const char *p, char name[64])
{
	size_t n = 0;

	CHECK(isalpha((unsigned char)*p) || *p == '_');
	while (isalnum((unsigned char)*p) || strchr("_-.:", *p)) {
		CHECK(n < 63);
		name[n++] = *p++;
	}
	name[n] = '\0';
	return p;
}

/* Attributes up to the end of the tag, each NAME="VALUE" behind a space. */
static const char *skip_attributes(const char *p)
{
	char name[64], quote;

	while (isspace((unsigned char)*p)) {
		while (isspace((unsigned char)*p))
			p++;
		if (*p == '>' || *p == '/' || *p == '?')
			break;
		p = take_name(p, name);
		CHECK_MSG(*p == '=', "attribute %s has no value", name);
		quote = p[1];
		CHECK_MSG(quote == '"' || quote == '\'', "attribute %s is not quoted", name);
		for (p += 2; *p != quote; p++)
			CHECK_MSG(*p && *p != '<' && *p != '&', "attribute %s does not end", name);
		p++;
	}
	return p;
}

/* Is text one well-formed element and nothing else? No comments, entities or CDATA are expected. */
static void check_well_formed(const char *p)
{
	char open[16][64], name[64];
	int depth = 0, roots = 0;

	for (;;) {
		for (; *p && *p != '<'; p++)
			CHECK_MSG(*p != '>' && *p != '&' && (depth || isspace((unsigned char)*p)),
				  "stray character %c", *p);
		if (!*p)
			break;
		if (p[1] == '/') {
			p = take_name(p + 2, name);
			CHECK_MSG(depth > 0 && !strcmp(open[--depth], name), "stray </%s>", name);
		} else {
			p = take_name(p + 1, name);
			roots += depth == 0;
			CHECK(depth < 16);
			strcpy(open[depth++], name);
			p = skip_attributes(p);
			if (*p == '/') {
				depth--;
				p++;
			}
		}
		CHECK_MSG(*p == '>', "<%s> does not end", name);
		p++;
	}
	CHECK_MSG(depth == 0 && roots == 1, "%d elements open, %d roots", depth, roots);
}

TEST(malloc_info_is_well_formed_xml)
{
	void *p[100];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = malloc(i * 3000);
	check_well_formed(info_text());
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	check_well_formed(info_text());
	CHECK(strncmp(info_text(), "<malloc version=\"", 17) == 0);
}

TEST(malloc_info_has_true_figures)
{
	size_t before = largest_number(info_text()), with;
	void *p = malloc(77 * MIB);

	CHECK(p != NULL);
	with = largest_number(info_text());
	CHECK_MSG(with >= before + 70 * MIB && with < before + 85 * MIB, "%zu, then %zu", before,
		  with);
	free(p);
}

/* The count or size in the heap element of that name, in its total of that type. */
static size_t total(const char *heap, const char *type, const char *attribute)
{
	char element[64];
	const char *at;

	snprintf(element, sizeof(element), "name=\"%s\"", heap);
	at = figure_at(info_text(), element);
	snprintf(element, sizeof(element), "<total type=\"%s\"", type);
	at = figure_at(at, element);
	snprintf(element, sizeof(element), "%s=\"", attribute);
	return strtoul(figure_at(at, element), NULL, 10);
}

TEST(malloc_info_has_cells)
{
	static void *p[1000];
	size_t count, size;

	fclose(fopen("/dev/null", "w")); /* whatever stdio needs, once */
	count = total("malloc, cells", "live", "count");
	size = total("malloc, cells", "live", "size");
	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = malloc(160)));
	CHECK(total("malloc, cells", "live", "count") == count + COUNT_OF(p));
	CHECK(total("malloc, cells", "live", "size") == size + 160 * COUNT_OF(p));
	CHECK(total("malloc", "live", "count") == 0);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	CHECK(total("malloc, cells", "live", "count") == count);
	CHECK(total("malloc, cells", "fast", "count") > 0);
	CHECK(total("malloc, cells", "fast", "size") >=
	      total("malloc, cells", "fast", "count") * 16);
	CHECK(total("malloc, cells", "rest", "count") > 0);
}

TEST(malloc_info_refuses_options)
{
	FILE *f = fopen("/dev/null", "w");

	CHECK(f != NULL);
	CHECK(malloc_info(1, f) != 0);
	fclose(f);
}

TEST(malloc_info_says_when_it_cannot_write)
{
	FILE *f = fopen("/dev/full", "w");

	if (!f)
		test_skip("no /dev/full");
	setvbuf(f, NULL, _IONBF, 0);
	malloc_info(0, f);
	CHECK(ferror(f));
	fclose(f);
}
