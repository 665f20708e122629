// SPDX-License-Identifier: BSD-3-Clause

/*
 * The functions of a mapped object.
 *
 * 1. A file counts only if it has the build id that the profile states. Otherwise the program was
 *    built anew since, and its symbols would be wrong.
 * 2. The object is its file, or else FOLDER/NAME.
 * 3. Functions come from .symtab and .dynsym of the object, and from the first debug file of
 *    FOLDER/.build-id/xx/rest.debug; the name in .gnu_debuglink next to the object, in .debug
 *    there, below FOLDER and in FOLDER; NAME.debug next to the object and in FOLDER.
 * 4. Without a build id in the profile, the first file counts.
 */

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "elf_read.h"
#include "heapview.h"
#include "profile.h"

#define STEPS_BACK 64 /* functions that may begin inside of another one */

struct symbols {
	struct elf object, debug;
	struct elf_function *functions; /* by address */
	char **names; /* of the functions that were asked for */
	size_t count;
	char id[2 * ELF_ID_MAX + 1];
	bool is_rebuilt; /* a file with another build id is there */
	char note[512];
};

/* Open a file, if it has the build id. */
static bool open_build(struct symbols *s, struct elf *e, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool open_build(struct symbols *s, struct elf *e, const char *format, ...)
{
	char path[4096], id[2 * ELF_ID_MAX + 1];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	if (length < 0 || length >= (int)sizeof(path) || !elf_open(e, path))
		return false;
	elf_build_id(e, id);
	if (!s->id[0])
		memcpy(s->id, id, sizeof(id));
	if (strcmp(id, s->id) == 0)
		return true;
	s->is_rebuilt = true;
	elf_close(e);
	return false;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void open_debug(struct symbols *s, const char *file, const char *folder)
{
	const char *link = s->object.bytes ? elf_debug_link(&s->object) : NULL;
	int own = (int)(last_part(file) - file); /* its folder, with the slash */
	bool rebuilt = s->is_rebuilt;

	(void)((strlen(s->id) > 2 &&
		open_build(s, &s->debug, "%s/.build-id/%.2s/%s.debug", folder, s->id, s->id + 2)) ||
	       (link && (open_build(s, &s->debug, "%.*s%s", own, file, link) ||
			 open_build(s, &s->debug, "%.*s.debug/%s", own, file, link) ||
			 open_build(s, &s->debug, "%s%.*s%s", folder, own, file, link) ||
			 open_build(s, &s->debug, "%s/%s", folder, link))) ||
	       open_build(s, &s->debug, "%s.debug", file) ||
	       open_build(s, &s->debug, "%s/%s.debug", folder, last_part(file)));
	/* Debug files of other builds tell nothing about the object. */
	s->is_rebuilt = rebuilt;
}

static int by_address(const void *a, const void *b)
{
	const struct elf_function *f = a, *g = b;

	if (f->address != g->address)
		return f->address < g->address ? -1 : 1;
	if (f->rank != g->rank)
		return f->rank - g->rank;
	return f->name < g->name ? -1 : f->name > g->name;
}

static void write_note(struct symbols *s, const char *file)
{
	const char *name = last_part(file);

	if (s->is_rebuilt && !s->object.bytes)
		snprintf(s->note, sizeof(s->note),
			 "%s was built anew since the profile: its build id differs%s", file,
			 s->count ? "; symbols of its debug file are shown"
				  : ", so its symbols are not used");
	else if (!s->count && s->object.bytes)
		snprintf(s->note, sizeof(s->note),
			 "%s has no symbols, and no debug file for it is installed", name);
	else if (!s->count && name[0] != '[')
		snprintf(s->note, sizeof(s->note), "%s cannot be read: it has no symbols here",
			 file);
}

struct symbols *symbols_open(const char *file, const char *build_id, const char *folder)
{
	struct symbols *s = grow(NULL, 1, sizeof(*s));

	*s = (struct symbols){0};
	snprintf(s->id, sizeof(s->id), "%s", build_id);
	if (file[0] == '/' && !open_build(s, &s->object, "%s", file))
		open_build(s, &s->object, "%s/%s", folder, last_part(file));
	if (file[0] == '/')
		open_debug(s, file, folder);
	if (s->object.bytes)
		elf_functions(&s->object, &s->functions, &s->count);
	if (s->debug.bytes)
		elf_functions(&s->debug, &s->functions, &s->count);
	if (s->count)
		qsort(s->functions, s->count, sizeof(*s->functions), by_address);
	s->names = grow(NULL, s->count + 1, sizeof(*s->names));
	memset(s->names, 0, (s->count + 1) * sizeof(*s->names));
	write_note(s, file);
	return s;
}

/* The number of functions that begin at or below the address. */
static size_t place(const struct symbols *s, uint64_t address)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->functions[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * A function without a size goes up to the next one. Of several that have the address, the one that
 * begins last, and of aliases the first in the order.
 */
static const struct elf_function *function_at(const struct symbols *s, uint64_t address)
{
	const struct elf_function *found = NULL;
	size_t i = place(s, address);

	for (size_t step = 0; i > 0 && step < STEPS_BACK; step++) {
		const struct elf_function *f = &s->functions[--i];

		if (found && f->address != found->address)
			break;
		if (address - f->address < f->size || (!f->size && step == 0) || found)
			found = f;
	}
	return found;
}

uint64_t symbols_address(const struct symbols *s, uint64_t offset)
{
	uint64_t address;

	/* The segments of a debug file have no contents, and not always the object's offsets. */
	if (!(s->object.bytes && elf_address(&s->object, offset, &address)) &&
	    !(s->debug.bytes && elf_address(&s->debug, offset, &address)))
		address = offset;
	return address;
}

const char *symbols_find(const struct symbols *s, uint64_t offset)
{
	const struct elf_function *f = function_at(s, symbols_address(s, offset));
	char **name;

	if (!f)
		return NULL;
	name = &s->names[f - s->functions];
	if (!*name) {
		*name = strndup(f->name, f->name_max);
		if (!*name)
			die("out of memory");
	}
	return *name;
}

const char *symbols_note(const struct symbols *s)
{
	return s->note[0] ? s->note : NULL;
}

void symbols_close(struct symbols *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++)
		free(s->names[i]);
	free(s->names);
	free(s->functions);
	elf_close(&s->object);
	elf_close(&s->debug);
	free(s);
}
