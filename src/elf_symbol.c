// SPDX-License-Identifier: BSD-3-Clause

#include "elf_symbol.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>

/* The tables of an object. NULL: it has no such table. */
struct tables {
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint32_t *hash; /* count of buckets, count of symbols, table */
	/* Count of buckets, first symbol, words of the filter, shift, filter, buckets, chains. */
	const uint32_t *gnu_hash;
};

/* A relocated address is above the bias. Not every libc relocates them. */
static struct tables read_dynamic(const ElfW(Dyn) * dynamic, uintptr_t bias, bool may_be_relocated)
{
	struct tables tables = {0};

	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		uintptr_t at = dynamic->d_un.d_ptr;
		const void *p = (const void *)(may_be_relocated && at >= bias ? at : bias + at);

		if (dynamic->d_tag == DT_SYMTAB)
			tables.symbols = p;
		else if (dynamic->d_tag == DT_STRTAB)
			tables.strings = p;
		else if (dynamic->d_tag == DT_HASH)
			tables.hash = p;
		else if (dynamic->d_tag == DT_GNU_HASH)
			tables.gnu_hash = p;
	}
	return tables;
}

/* The last symbol ends the last chain. The lowest bit marks the end of a chain. */
static uint32_t count_hashed(const uint32_t *table)
{
	const uint32_t first = table[1], *bucket = table + 4 + table[2] * (sizeof(ElfW(Addr)) / 4);
	const uint32_t *chain = bucket + table[0];
	uint32_t last = 0;

	for (; bucket < chain; bucket++)
		last = *bucket > last ? *bucket : last;
	if (last < first)
		return 0;
	while (!(chain[last - first] & 1))
		last++;
	return last + 1;
}

static uint32_t count_symbols(const struct tables *tables)
{
	if (!tables->symbols || !tables->strings)
		return 0;
	if (tables->hash)
		return tables->hash[1];
	return tables->gnu_hash ? count_hashed(tables->gnu_hash) : 0;
}

static struct tables find_tables(const ElfW(Phdr) * headers, size_t count, uintptr_t bias,
				 bool may_be_relocated)
{
	struct tables tables = {0};

	for (size_t i = 0; i < count; i++)
		if (headers[i].p_type == PT_DYNAMIC)
			tables = read_dynamic((const void *)(bias + headers[i].p_vaddr), bias,
					      may_be_relocated);
	return tables;
}

void *elf_symbol(const ElfW(Phdr) * headers, size_t count, uintptr_t bias, bool may_be_relocated,
		 const char *name)
{
	struct tables tables = find_tables(headers, count, bias, may_be_relocated);

	for (uint32_t i = 0, n = count_symbols(&tables); i < n; i++) {
		const ElfW(Sym) *symbol = &tables.symbols[i];

		if (symbol->st_shndx != SHN_UNDEF &&
		    !strcmp(tables.strings + symbol->st_name, name))
			return (void *)(bias + symbol->st_value);
	}
	return NULL;
}

void *elf_vdso_symbol(const char *name)
{
	int saved_errno = errno; /* getauxval sets it where there is no vDSO */
	uintptr_t start = getauxval(AT_SYSINFO_EHDR), bias = 0;
	const ElfW(Ehdr) *header = (const void *)start;
	const ElfW(Phdr) * segments;

	errno = saved_errno;
	if (!start)
		return NULL;
	segments = (const void *)(start + header->e_phoff);
	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD)
			bias = start + segments[i].p_offset - segments[i].p_vaddr;
	return elf_symbol(segments, header->e_phnum, bias, false, name);
}

struct wanted {
	const char *name;
	void *found;
};

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* musl has one object for the loader and libc. */
static int look_in_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *slash = strrchr(info->dlpi_name, '/');
	struct wanted *w = arg;

	(void)size;
	if (slash && (begins(slash, "/libc.") || begins(slash, "/ld-musl-")))
		w->found = elf_symbol(info->dlpi_phdr, info->dlpi_phnum, info->dlpi_addr, true,
				      w->name);
	return w->found != NULL;
}

void *elf_libc_symbol(const char *name)
{
	struct wanted w = {.name = name};

	dl_iterate_phdr(look_in_libc, &w);
	return w.found;
}
