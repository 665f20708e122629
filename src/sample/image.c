// SPDX-License-Identifier: BSD-3-Clause

#include "image.h"

#include <string.h>
#include <sys/auxv.h>

#include "helpers.h"
#include "object.h"

#define NOTES_MAX 1024
#define ENTRIES_MAX 128 /* of a dynamic section */
#define PAGE ((uintptr_t)4096) /* the smallest: larger pages are whole numbers of it */

/* ---- Texts ---- */

/* Copy as much as there is up to the next page, and so on, because what is behind may not exist. */
static bool copy_text(char *to, size_t size, uintptr_t from)
{
	size_t n = 0;

	while (n < size) {
		size_t piece = PAGE - (from + n) % PAGE;

		piece = piece < size - n ? piece : size - n;
		if (!sys_copy(to + n, (const void *)(from + n), piece))
			return false;
		if (memchr(to + n, '\0', piece))
			return true;
		n += piece;
	}
	return false;
}

static void get_path(struct image *image, const struct object *object)
{
	struct link_map map = {.l_name = (char *)(uintptr_t)object->name};

	/* The head of the loader's struct is public. */
	if (object->map && !sys_copy(&map, object->map, offsetof(struct link_map, l_ld)))
		map.l_name = NULL;
	if (!map.l_name || !copy_text(image->path, PATH_MAX, (uintptr_t)map.l_name)) {
		image->path[0] = '\0';
	} else if (!*image->path) { /* the program */
		sys_program(image->path, PATH_MAX);
		if (!*image->path) /* /proc is not there */
			copy_text(image->path, PATH_MAX, getauxval(AT_EXECFN));
	} else if (!strchr(image->path, '/')) {
		memcpy(image->path, "[vdso]", sizeof("[vdso]"));
	}
}

/* ---- Tables ---- */

static void write_digits(char *to, const unsigned char *bytes, size_t count)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < count; i++) {
		*to++ = digits[bytes[i] >> 4];
		*to++ = digits[bytes[i] & 15];
	}
	*to = '\0';
}

static void get_build_id(struct image *image, uintptr_t at, size_t size)
{
	const unsigned char *name, *id;
	ElfW(Nhdr) note;
	size_t next;

	size = size < NOTES_MAX ? size : NOTES_MAX;
	if (!sys_copy(image->chunk, (const void *)at, size))
		return;
	for (size_t i = 0; i + sizeof(note) < size; i = next) {
		memcpy(&note, image->chunk + i, sizeof(note));
		if (note.n_namesz > size || note.n_descsz > size)
			return;
		name = image->chunk + i + sizeof(note);
		id = name + (note.n_namesz + 3) / 4 * 4;
		next = (size_t)(id - image->chunk) + (note.n_descsz + 3) / 4 * 4;
		if (next > size)
			return;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
		    !memcmp(name, "GNU", 4) && note.n_descsz <= IMAGE_ID_MAX)
			write_digits(image->build_id, id, note.n_descsz);
	}
}

/* Copy count words of a table. NULL: they cannot be read. */
static const uint32_t *copy_words(struct image *image, uintptr_t at, size_t count)
{
	bool is_copied = sys_copy(image->chunk, (const void *)at, count * sizeof(uint32_t));

	return is_copied ? (const void *)image->chunk : NULL;
}

/* The highest of count words, or 0. */
static uint32_t highest(struct image *image, uintptr_t at, size_t count)
{
	const size_t chunk = IMAGE_CHUNK / sizeof(uint32_t);
	const uint32_t *words;
	uint32_t result = 0;

	for (size_t n; count; count -= n, at += n * sizeof(*words)) {
		n = count < chunk ? count : chunk;
		words = copy_words(image, at, n);
		if (!words)
			return 0;
		for (size_t i = 0; i < n; i++)
			result = words[i] > result ? words[i] : result;
	}
	return result;
}

/*
 * The number of symbols in a DT_GNU_HASH table: count of buckets, first symbol, words of the
 * filter, shift, filter, buckets, chains. The last symbol ends the last chain; the lowest bit marks
 * the end of a chain. 0: unknown.
 */
static size_t count_hashed(struct image *image, uintptr_t table)
{
	const uint32_t *words = copy_words(image, table, 4);
	uintptr_t buckets, chains;
	uint32_t first, last;

	if (!words)
		return 0;
	first = words[1];
	buckets = table + 4 * sizeof(*words) + words[2] * sizeof(ElfW(Addr));
	chains = buckets + words[0] * sizeof(*words);
	last = highest(image, buckets, words[0]);
	if (last < first)
		return 0;
	do
		words = copy_words(image, chains + (last++ - first) * sizeof(*words), 1);
	while (words && !(*words & 1));
	return words ? last : 0;
}

static void get_tables(struct image *image, uintptr_t at, size_t size)
{
	const ElfW(Dyn) *entry = (const void *)image->chunk;
	const size_t rest = size / sizeof(*entry);
	const size_t count = rest < ENTRIES_MAX ? rest : ENTRIES_MAX;
	uintptr_t hash = 0, gnu_hash = 0;
	const uint32_t *words;

	if (!sys_copy(image->chunk, (const void *)at, count * sizeof(*entry)))
		return;
	for (const ElfW(Dyn) *end = entry + count; entry < end && entry->d_tag; entry++) {
		uintptr_t p = entry->d_un.d_ptr;

		if (p < image->bias) /* the loader has not added it */
			p += image->bias;
		if (entry->d_tag == DT_SYMTAB)
			image->symbols = p;
		else if (entry->d_tag == DT_STRTAB)
			image->strings = p;
		else if (entry->d_tag == DT_STRSZ)
			image->strings_size = entry->d_un.d_val;
		else if (entry->d_tag == DT_HASH)
			hash = p;
		else if (entry->d_tag == DT_GNU_HASH)
			gnu_hash = p;
	}
	if (hash && (words = copy_words(image, hash, 2)))
		image->symbol_count = words[1];
	else if (gnu_hash)
		image->symbol_count = count_hashed(image, gnu_hash);
}

/* ---- Public functions ---- */

/*
 * Copy the headers of the segments, and set the bias. Returns their number, or 0. A program may be
 * mapped with gaps; then its object is only a part, whose start is not that of the file.
 */
static size_t copy_segments(struct image *image, const struct object *object)
{
	uintptr_t start = object->start & -PAGE, at = getauxval(AT_PHDR);
	size_t count = getauxval(AT_PHNUM);
	const ElfW(Phdr) *segment = image->segments, *end;
	struct object program;
	ElfW(Ehdr) header;

	if (!object_find(at, &program) || program.id != object->id) {
		if (!sys_copy(&header, (const void *)start, sizeof(header)) ||
		    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
			return 0;
		at = start + header.e_phoff;
		count = header.e_phnum;
	}
	count = count < IMAGE_SEGMENTS_MAX ? count : IMAGE_SEGMENTS_MAX;
	if (!sys_copy(image->segments, (const void *)at, count * sizeof(*segment)))
		return 0;
	end = segment + count;
	while (segment < end && segment->p_type != PT_LOAD && segment->p_type != PT_PHDR)
		segment++;
	if (segment == end)
		return 0;
	image->bias = segment->p_type == PT_PHDR ? at - segment->p_vaddr
						 : start - (segment->p_vaddr & -PAGE);
	return count;
}

static const ElfW(Phdr) * find_code(const struct image *image, size_t count, uintptr_t address)
{
	const ElfW(Phdr) *segment = image->segments;

	for (const ElfW(Phdr) *end = segment + count; segment < end; segment++)
		if (segment->p_type == PT_LOAD && segment->p_flags & PF_X &&
		    address - image->bias - segment->p_vaddr < segment->p_memsz)
			return segment;
	return NULL;
}

bool image_find(struct image *image, uintptr_t address)
{
	const ElfW(Phdr) * code;
	struct object object;
	size_t count;

	if (!object_find(address, &object))
		return false;
	count = copy_segments(image, &object);
	code = find_code(image, count, address);
	if (!code)
		return false;
	image->start = (image->bias + code->p_vaddr) & -PAGE;
	image->end = (image->bias + code->p_vaddr + code->p_memsz + PAGE - 1) & -PAGE;
	image->offset = code->p_offset & -PAGE;
	image->build_id[0] = '\0';
	image->symbols = image->strings = image->symbol_count = image->strings_size = 0;
	get_path(image, &object);
	for (size_t i = 0; i < count; i++) {
		const ElfW(Phdr) *segment = &image->segments[i];
		uintptr_t at = image->bias + segment->p_vaddr;

		if (segment->p_type == PT_NOTE && !*image->build_id)
			get_build_id(image, at, segment->p_filesz);
		else if (segment->p_type == PT_DYNAMIC)
			get_tables(image, at, segment->p_filesz);
	}
	return true;
}

void image_functions(struct image *image, image_visit *visit, void *arg)
{
	const ElfW(Sym) *symbols = (const void *)image->chunk;
	const size_t chunk = IMAGE_CHUNK / sizeof(*symbols);
	uintptr_t at = image->symbols;

	for (size_t n, rest = image->symbol_count; rest; rest -= n, at += n * sizeof(*symbols)) {
		n = rest < chunk ? rest : chunk;
		if (!sys_copy(image->chunk, (const void *)at, n * sizeof(*symbols)))
			return;
		for (const ElfW(Sym) *s = symbols; s < symbols + n; s++)
			if (s->st_shndx != SHN_UNDEF && ELF64_ST_TYPE(s->st_info) == STT_FUNC)
				visit(image->bias + s->st_value, s->st_size, s->st_name, arg);
	}
}

const char *image_name(struct image *image, uint32_t name)
{
	bool is_copied = name < image->strings_size &&
			 copy_text(image->name, IMAGE_NAME_MAX, image->strings + name);

	return is_copied ? image->name : NULL;
}
