// SPDX-License-Identifier: BSD-3-Clause

/*
 * The reader of ELF files. Every offset is compared with the size of the file before it is
 * followed, and structures are copied out, because they need not be aligned.
 */

#include "elf_read.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heapview.h"

#define HEADERS_MAX 65536 /* sections or segments that are looked at */

/* A part of the file; NULL if it does not lie inside. */
static const uint8_t *part(const struct elf *e, uint64_t offset, uint64_t size)
{
	return offset <= e->size && size <= e->size - offset ? e->bytes + offset : NULL;
}

static bool copy(const struct elf *e, uint64_t offset, void *out, size_t size)
{
	const uint8_t *from = part(e, offset, size);

	if (from)
		memcpy(out, from, size);
	return from != NULL;
}

bool elf_from(struct elf *e, const void *bytes, size_t size)
{
	Elf64_Ehdr h;

	*e = (struct elf){bytes, size};
	return copy(e, 0, &h, sizeof(h)) && memcmp(h.e_ident, ELFMAG, SELFMAG) == 0 &&
	       h.e_ident[EI_CLASS] == ELFCLASS64 && h.e_ident[EI_DATA] == ELFDATA2LSB;
}

bool elf_open(struct elf *e, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	void *bytes;

	*e = (struct elf){0};
	if (fd < 0)
		return false;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !st.st_size) {
		close(fd);
		return false;
	}
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return false;
	if (elf_from(e, bytes, (size_t)st.st_size))
		return true;
	elf_close(e);
	return false;
}

void elf_close(struct elf *e)
{
	if (e->bytes)
		munmap((void *)(uintptr_t)e->bytes, e->size);
	*e = (struct elf){0};
}

/* Section number i. False if there is none. */
static bool section(const struct elf *e, uint64_t i, Elf64_Shdr *out)
{
	uint64_t count;
	Elf64_Shdr first;
	Elf64_Ehdr h;

	if (!copy(e, 0, &h, sizeof(h)) || !h.e_shoff || h.e_shentsize != sizeof(*out))
		return false;
	/* More than 65279 sections: the first one has their number. */
	count = h.e_shnum;
	if (!count && copy(e, h.e_shoff, &first, sizeof(first)))
		count = first.sh_size;
	return i < count && i < HEADERS_MAX && h.e_shoff < e->size &&
	       copy(e, h.e_shoff + i * sizeof(*out), out, sizeof(*out));
}

static bool segment(const struct elf *e, uint64_t i, Elf64_Phdr *out)
{
	Elf64_Ehdr h;

	return copy(e, 0, &h, sizeof(h)) && h.e_phoff && h.e_phentsize == sizeof(*out) &&
	       i < h.e_phnum && h.e_phoff < e->size &&
	       copy(e, h.e_phoff + i * sizeof(*out), out, sizeof(*out));
}

static uint64_t rounded(uint64_t size)
{
	return (size + 3) & ~(uint64_t)3;
}

/* The build id in notes of size bytes. */
static bool id_in_notes(const struct elf *e, uint64_t at, uint64_t size,
			char id[2 * ELF_ID_MAX + 1])
{
	uint64_t end = at + size;
	Elf64_Nhdr n;

	if (!part(e, at, size))
		return false;
	while (at + sizeof(n) <= end && copy(e, at, &n, sizeof(n))) {
		uint64_t name = at + sizeof(n), data = name + rounded(n.n_namesz);
		const uint8_t *owner = part(e, name, 4), *bytes = part(e, data, n.n_descsz);

		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && owner && bytes &&
		    memcmp(owner, "GNU", 4) == 0) {
			for (size_t i = 0; i < n.n_descsz && i < ELF_ID_MAX; i++)
				sprintf(id + 2 * i, "%02x", bytes[i]);
			return n.n_descsz > 0;
		}
		at = data + rounded(n.n_descsz);
	}
	return false;
}

void elf_build_id(const struct elf *e, char id[2 * ELF_ID_MAX + 1])
{
	Elf64_Shdr s;
	Elf64_Phdr p;

	id[0] = '\0';
	for (uint64_t i = 0; section(e, i, &s); i++)
		if (s.sh_type == SHT_NOTE && id_in_notes(e, s.sh_offset, s.sh_size, id))
			return;
	for (uint64_t i = 0; segment(e, i, &p); i++)
		if (p.p_type == PT_NOTE && id_in_notes(e, p.p_offset, p.p_filesz, id))
			return;
}

/* The text at an offset of a section, with the bytes that are left there; NULL outside. */
static const char *text_at(const struct elf *e, const Elf64_Shdr *s, uint64_t offset, size_t *max)
{
	const uint8_t *text = part(e, s->sh_offset, s->sh_size);

	if (s->sh_type == SHT_NOBITS || !text || offset >= s->sh_size)
		return NULL;
	*max = s->sh_size - offset;
	return (const char *)text + offset;
}

const char *elf_debug_link(const struct elf *e)
{
	static const char wanted[] = ".gnu_debuglink";
	Elf64_Shdr names, s;
	Elf64_Ehdr h;
	size_t max;

	if (!copy(e, 0, &h, sizeof(h)) || !section(e, h.e_shstrndx, &names))
		return NULL;
	for (uint64_t i = 0; section(e, i, &s); i++) {
		const char *name = text_at(e, &names, s.sh_name, &max);

		if (!name || max < sizeof(wanted) || memcmp(name, wanted, sizeof(wanted)) != 0)
			continue;
		name = text_at(e, &s, 0, &max);
		return name && memchr(name, 0, max) ? name : NULL;
	}
	return NULL;
}

/*
 * A profiler may state one mapping for a whole object. Then the offset is that from its start in
 * memory.
 */
bool elf_address(const struct elf *e, uint64_t offset, uint64_t *address)
{
	Elf64_Phdr p;

	for (uint64_t i = 0; segment(e, i, &p); i++) {
		if (p.p_type == PT_LOAD && p.p_flags & PF_X && offset >= p.p_offset &&
		    offset - p.p_offset < p.p_filesz) {
			*address = p.p_vaddr + (offset - p.p_offset);
			return true;
		}
	}
	for (uint64_t i = 0; segment(e, i, &p); i++) {
		if (p.p_type == PT_LOAD && p.p_flags & PF_X && offset >= p.p_vaddr &&
		    offset - p.p_vaddr < p.p_memsz) {
			*address = offset;
			return true;
		}
	}
	return false;
}

static void add_function(const struct elf *e, const Elf64_Shdr *names, const Elf64_Sym *sym,
			 struct elf_function **list, size_t *count)
{
	int type = ELF64_ST_TYPE(sym->st_info);
	struct elf_function f = {.address = sym->st_value, .size = sym->st_size};

	if ((type != STT_FUNC && type != STT_GNU_IFUNC) || sym->st_shndx == SHN_UNDEF)
		return;
	f.name = text_at(e, names, sym->st_name, &f.name_max);
	if (!f.name || !*f.name)
		return;
	f.rank = ELF64_ST_BIND(sym->st_info) == STB_GLOBAL ? 0 : 1;
	if ((*count & (*count - 1)) == 0)
		*list = grow(*list, *count ? 2 * *count : 1, sizeof(**list));
	(*list)[(*count)++] = f;
}

void elf_functions(const struct elf *e, struct elf_function **list, size_t *count)
{
	Elf64_Shdr s, names;
	Elf64_Sym sym;

	for (uint64_t i = 0; section(e, i, &s); i++) {
		if ((s.sh_type != SHT_SYMTAB && s.sh_type != SHT_DYNSYM) ||
		    s.sh_entsize != sizeof(sym) || !part(e, s.sh_offset, s.sh_size) ||
		    !section(e, s.sh_link, &names))
			continue;
		for (uint64_t k = 0; k < s.sh_size / sizeof(sym); k++)
			if (copy(e, s.sh_offset + k * sizeof(sym), &sym, sizeof(sym)))
				add_function(e, &names, &sym, list, count);
	}
}
