// SPDX-License-Identifier: BSD-3-Clause

#include "vdso.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

/* What is needed of it; addresses in the process. */
struct image {
	uintptr_t bias; /* what its own addresses are less than those */
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint32_t *hash; /* buckets, symbols, and the table itself */
};

static const void *address_at(const struct image *image, uintptr_t own)
{
	return (const void *)(image->bias + own);
}

/* Whether all that is needed is there. */
static int read_dynamic(struct image *image, const ElfW(Dyn) * dynamic)
{
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		const void *p = address_at(image, dynamic->d_un.d_ptr);

		if (dynamic->d_tag == DT_SYMTAB)
			image->symbols = p;
		else if (dynamic->d_tag == DT_STRTAB)
			image->strings = p;
		else if (dynamic->d_tag == DT_HASH)
			image->hash = p;
	}
	return image->symbols && image->strings && image->hash;
}

static int read_image(struct image *image, uintptr_t start)
{
	const ElfW(Ehdr) *header = (const void *)start;
	const ElfW(Phdr) *segment = (const void *)(start + header->e_phoff);
	const ElfW(Dyn) *dynamic = NULL;

	for (int i = 0; i < header->e_phnum; i++) {
		if (segment[i].p_type == PT_LOAD)
			image->bias = start + segment[i].p_offset - segment[i].p_vaddr;
		else if (segment[i].p_type == PT_DYNAMIC)
			dynamic = (const void *)(start + segment[i].p_offset);
	}
	return dynamic && read_dynamic(image, dynamic);
}

void *vdso_find(const char *name)
{
	uintptr_t start = getauxval(AT_SYSINFO_EHDR);
	struct image image = {0};

	if (!start || !read_image(&image, start))
		return NULL;
	for (uint32_t i = 0; i < image.hash[1]; i++) {
		const ElfW(Sym) *symbol = &image.symbols[i];

		if (symbol->st_shndx != SHN_UNDEF && !strcmp(image.strings + symbol->st_name, name))
			return (void *)(image.bias + symbol->st_value);
	}
	return NULL;
}
