// SPDX-License-Identifier: BSD-3-Clause

/*
 * Writes profiles in pprof's format to standard output:
 *
 *	make small             a program of a few functions, some of them C++
 *	make small-later       the same, when one part has grown and another is gone
 *	make empty             no sample
 *	make large SAMPLES     stacks at random, of 2000 functions in 12 objects
 *	make deep DEPTH        a stack of that depth, which recurses, and one that does not
 *	make own [BUILD-ID]    addresses of this program's functions, without names
 *	make hostile           names with quotes, tags, control characters and broken UTF-8
 */

#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
	uint8_t *bytes;
	size_t count, room;
};

static struct buffer out;
static uint64_t strings = 1, functions, mappings = 1, state = 1;

static void put(struct buffer *b, const void *bytes, size_t count)
{
	while (b->count + count > b->room)
		b->bytes = realloc(b->bytes, b->room = b->room ? 2 * b->room : 4096);
	memcpy(b->bytes + b->count, bytes, count);
	b->count += count;
}

static void put_varint(struct buffer *b, uint64_t n)
{
	for (; n >= 128; n >>= 7)
		put(b, &(uint8_t){(uint8_t)n | 128}, 1);
	put(b, &(uint8_t){(uint8_t)n}, 1);
}

static void put_number(struct buffer *b, unsigned int field, uint64_t n)
{
	put_varint(b, field << 3);
	put_varint(b, n);
}

static void put_bytes(struct buffer *b, unsigned int field, const void *bytes, size_t count)
{
	put_varint(b, field << 3 | 2);
	put_varint(b, count);
	put(b, bytes, count);
}

static void put_message(unsigned int field, struct buffer *message)
{
	put_bytes(&out, field, message->bytes, message->count);
	free(message->bytes);
	*message = (struct buffer){0};
}

static uint64_t string(const char *text)
{
	put_bytes(&out, 6, text, strlen(text));
	return strings++;
}

static void type(const char *name, const char *unit)
{
	struct buffer b = {0};

	put_number(&b, 1, string(name));
	put_number(&b, 2, string(unit));
	put_message(1, &b);
}

static void begin(void)
{
	put_bytes(&out, 6, "", 0);
	type("alloc_objects", "count");
	type("alloc_space", "bytes");
	type("inuse_objects", "count");
	type("inuse_space", "bytes");
	put_number(&out, 9, 1767225600000000000); /* 2026-01-01 */
	put_number(&out, 10, 90000000000);
	put_number(&out, 12, 524288);
}

static uint64_t mapping(const char *file, const char *build_id, uint64_t start, uint64_t limit,
			uint64_t offset)
{
	struct buffer b = {0};

	put_number(&b, 1, mappings);
	put_number(&b, 2, start);
	put_number(&b, 3, limit);
	put_number(&b, 4, offset);
	put_number(&b, 5, string(file));
	put_number(&b, 6, string(build_id));
	put_message(3, &b);
	return mappings++;
}

/* A location in a mapping; with a name, one that is resolved. */
static uint64_t location(const char *name, uint64_t in, uint64_t address)
{
	struct buffer b = {0}, line = {0};
	uint64_t id = ++functions;

	if (name) {
		put_number(&b, 1, id);
		put_number(&b, 2, string(name));
		put_message(5, &b);
		put_number(&line, 1, id);
	}
	put_number(&b, 1, id);
	put_number(&b, 2, in);
	put_number(&b, 3, address);
	if (name)
		put_bytes(&b, 4, line.bytes, line.count);
	free(line.bytes);
	put_message(4, &b);
	return id;
}

/* Locations from the innermost outwards. What is live is also in the total. */
static void sample(const uint64_t *stack, size_t depth, uint64_t objects, uint64_t bytes,
		   uint64_t live_objects, uint64_t live_bytes)
{
	struct buffer b = {0}, packed = {0};

	for (size_t i = 0; i < depth; i++)
		put_varint(&packed, stack[i]);
	put_bytes(&b, 1, packed.bytes, packed.count);
	packed.count = 0;
	put_varint(&packed, objects);
	put_varint(&packed, bytes);
	put_varint(&packed, live_objects);
	put_varint(&packed, live_bytes);
	put_bytes(&b, 2, packed.bytes, packed.count);
	free(packed.bytes);
	put_message(2, &b);
}

#define STACK(...) (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8
#define MIB ((uint64_t)1 << 20)

static void small(int is_later)
{
	uint64_t program = mapping("/opt/shop/bin/shop", "", 0x400000, 0x500000, 0);
	uint64_t libc = mapping("/usr/lib/libc.so.6", "", 0x7f0000000000, 0x7f0000200000, 0);
	uint64_t json = mapping("/usr/lib/libjson.so.2", "", 0x7f0000400000, 0x7f0000500000, 0);
	uint64_t start = location("__libc_start_main", libc, 0x7f0000001000);
	uint64_t entry = location("main", program, 0x401000);
	uint64_t serve = location("serve", program, 0x402000);
	uint64_t parse = location("json_parse", json, 0x7f0000401000);
	uint64_t value = location("json_value", json, 0x7f0000402000);
	uint64_t push = location("_ZNSt6vectorI5OrderSaIS0_EE17_M_realloc_insertIJRKS0_EEEvN9__gnu_"
				 "cxx17__normal_iteratorIPS0_S2_EEDpOT_",
				 program, 0x403000);
	uint64_t cache =
		location("_ZN5Cache3putERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
			 "10shared_ptrI4PageE",
			 program, 0x404000);
	uint64_t page = location("render_page", program, 0x405000);
	uint64_t config = location("load_config", program, 0x406000);
	uint64_t format = location("vasprintf", libc, 0x7f0000003000);
	uint64_t log = location("log_line", program, 0x407000);

	sample(STACK(config, entry, start), 300, 3 * MIB, 300, is_later ? 0 : 3 * MIB);
	sample(STACK(value, value, value, parse, serve, entry, start), 90000, 60 * MIB, 2000,
	       2 * MIB);
	sample(STACK(push, serve, entry, start), 4000, 96 * MIB, 40, 12 * MIB);
	sample(STACK(cache, page, serve, entry, start), is_later ? 90000 : 30000,
	       is_later ? 74 * MIB : 25 * MIB, is_later ? 89000 : 29000,
	       is_later ? 73 * MIB : 24 * MIB);
	sample(STACK(page, serve, entry, start), 8000, 31 * MIB, 90, MIB);
	sample(STACK(format, log, page, serve, entry, start), 700000, 44 * MIB, 3, 4096);
	if (is_later)
		sample(STACK(format, log, serve, entry, start), 1000, MIB, 1000, MIB);
}

static unsigned int random_below(unsigned int n)
{
	state = state * 6364136223846793005 + 1442695040888963407;
	return (unsigned int)(state >> 33) % n;
}

static void large(size_t samples)
{
	static const char *const verbs[] = {"parse",  "load", "build",	 "merge",  "index",
					    "render", "copy", "resolve", "expand", "read"};
	static const char *const things[] = {"table",  "node",	"page", "query",
					     "buffer", "shape", "user", "event",
					     "symbol", "row",	"text", "cache"};
	uint64_t ids[2000], stack[64];
	char name[128];

	for (unsigned int i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), i ? "/usr/lib/lib%s.so.%u" : "/usr/bin/engine",
			 things[i], i);
		mapping(name, "", i << 24, (i + 1) << 24, 0);
	}
	for (unsigned int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%s_%s_%u", verbs[i % 10], things[i / 10 % 12], i);
		ids[i] = location(name, 1 + i % 12, i << 8);
	}
	for (size_t i = 0; i < samples; i++) {
		size_t depth = 4 + random_below(30);
		unsigned int at = 0;
		uint64_t bytes = 512 + (uint64_t)random_below(1000) * random_below(1000);

		for (size_t k = depth; k-- > 0;) {
			stack[k] = ids[at];
			at = (at * 7 + random_below(random_below(4) ? 2 : 5) + 1) % 2000;
		}
		sample(stack, depth, 8, 8 * bytes, 1 + random_below(2), bytes);
	}
}

static void deep(size_t depth)
{
	uint64_t in = mapping("/usr/bin/deep", "", 0x400000, 0x500000, 0), *stack;
	uint64_t walk = location("walk", in, 0x400100), visit = location("visit", in, 0x400200);
	uint64_t start = location("main", in, 0x400300);
	char name[32];

	stack = calloc(depth + 1, sizeof(*stack));
	for (size_t i = 0; i < depth; i++)
		stack[i] = i % 2 ? walk : visit;
	stack[depth] = start;
	sample(stack, depth + 1, 1, 4 * MIB, 1, 4 * MIB);
	for (size_t i = 0; i < depth; i++) {
		snprintf(name, sizeof(name), "level_%zu", i);
		stack[i] = location(name, in, 0x401000 + i);
	}
	sample(stack, depth + 1, 1, MIB, 1, MIB);
	free(stack);
}

__attribute__((noinline)) void first_of_mine(void)
{
	__asm__ volatile("");
}

__attribute__((noinline, visibility("hidden"))) void second_of_mine(void)
{
	__asm__ volatile("nop");
}

static char own_id[128];

static int find_id(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		const char *at = (const char *)info->dlpi_addr + p->p_vaddr, *end = at + p->p_memsz;

		while (p->p_type == PT_NOTE && at < end) {
			const ElfW(Nhdr) *n = (const void *)at;
			const uint8_t *id = (const uint8_t *)(n + 1) + ((n->n_namesz + 3) & ~3u);

			for (unsigned int k = 0; n->n_type == NT_GNU_BUILD_ID && k < n->n_descsz;
			     k++)
				sprintf(own_id + 2 * k, "%02x", id[k]);
			at = (const char *)id + ((n->n_descsz + 3) & ~3u);
		}
	}
	return 1; /* the first is the program */
}

static void own(const char *other_id)
{
	unsigned long start, limit, offset, wanted = (unsigned long)first_of_mine;
	char line[4096], path[4096];
	FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t in = 0;

	dl_iterate_phdr(find_id, NULL);
	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %4095s", &start, &limit, &offset, path) ==
			    4 &&
		    start <= wanted && wanted < limit)
			in = mapping(path, other_id ? other_id : own_id, start, limit, offset);
	sample(STACK(location(NULL, in, (uint64_t)first_of_mine),
		     location(NULL, in, (uint64_t)own + 1)),
	       1, 3 * MIB, 1, 3 * MIB);
	sample(STACK(location(NULL, in, (uint64_t)second_of_mine),
		     location(NULL, in, (uint64_t)own + 1)),
	       1, MIB, 1, MIB);
	sample(STACK(location(NULL, 0, 0x1234)), 1, MIB, 1, MIB);
}

static void hostile(void)
{
	uint64_t in = mapping("/tmp/a</script><b>", "", 1, 2, 0);

	sample(STACK(location("</script><img onerror=alert(1)>", in, 1),
		     location("\"\\\n\x1b[31m", in, 1)),
	       1, MIB, 1, MIB);
	sample(STACK(location("caf\xc3\xa9 \xff\xe2\x82", in, 1)), 1, MIB, 1, MIB);
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "", *arg = argc > 2 ? argv[2] : NULL;

	begin();
	if (strcmp(kind, "small") == 0 || strcmp(kind, "small-later") == 0)
		small(kind[5] != '\0');
	else if (strcmp(kind, "large") == 0 && arg)
		large(strtoul(arg, NULL, 10));
	else if (strcmp(kind, "deep") == 0 && arg)
		deep(strtoul(arg, NULL, 10));
	else if (strcmp(kind, "own") == 0)
		own(arg);
	else if (strcmp(kind, "hostile") == 0)
		hostile();
	else if (strcmp(kind, "empty") != 0)
		return 2;
	return fwrite(out.bytes, 1, out.count, stdout) != out.count;
}
