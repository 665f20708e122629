/* SPDX-License-Identifier: BSD-3-Clause */

/* A reader of ELF files of 64 bits, little endian. Nothing in a file is trusted. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file that is mapped read-only. bytes is NULL if there is none. */
struct elf {
	const uint8_t *bytes;
	size_t size;
};

/* A function. The name ends inside of the file, at name_max bytes at the latest. */
struct elf_function {
	uint64_t address, size;
	const char *name;
	size_t name_max;
	int rank; /* among functions at one address, the lowest is preferred */
};

#define ELF_ID_MAX 64 /* bytes of a build id that count */

/* Map the file at path. False if it cannot be read or is no such file. */
bool elf_open(struct elf *e, const char *path);
/* The same for bytes in memory, which must stay. */
bool elf_from(struct elf *e, const void *bytes, size_t size);
void elf_close(struct elf *e);

/* Write the build id as hexadecimal digits, or "". */
void elf_build_id(const struct elf *e, char id[2 * ELF_ID_MAX + 1]);
/* The file name in .gnu_debuglink, or NULL. */
const char *elf_debug_link(const struct elf *e);
/* Translate an offset of the mapped file into an address of the object. False if it is no code. */
bool elf_address(const struct elf *e, uint64_t offset, uint64_t *address);
/* Append the functions of .symtab and .dynsym to *list. They are valid until elf_close. */
void elf_functions(const struct elf *e, struct elf_function **list, size_t *count);
