/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Programs and libraries in memory, for readers of addresses: files, build ids, names of functions.
 * Another thread may unload a library meanwhile, so everything is copied before it is looked at. No
 * lock is taken: a forked child may find the loader's held for good.
 */

#pragma once

#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_ID_MAX 64 /* bytes of a build id; linkers write 16 or 20 */
#define IMAGE_CHUNK 16384
#define IMAGE_NAME_MAX 8192 /* a function with a longer name has none */
#define IMAGE_SEGMENTS_MAX 32

/* A piece of code, and what is known of its object. It is large: for mapped memory. */
struct image {
	uintptr_t start, end; /* of the code, whole pages */
	uint64_t offset; /* of start in the file */
	char path[PATH_MAX]; /* or the name of an object that is no file, as [vdso] */
	char build_id[2 * IMAGE_ID_MAX + 1]; /* in hexadecimal digits; empty: none */
	/* For image_functions: */
	uintptr_t bias; /* what the loader has added to addresses in the file */
	uintptr_t symbols, strings; /* 0: none */
	size_t symbol_count, strings_size;
	/* Copies of what is being looked at: */
	char name[IMAGE_NAME_MAX];
	ElfW(Phdr) segments[IMAGE_SEGMENTS_MAX];
	_Alignas(8) unsigned char chunk[IMAGE_CHUNK];
};

/* Fill in *image for the code with this address. False: none is known. */
bool image_find(struct image *image, uintptr_t address);

/* Call visit for each exported function. name is for image_name. */
typedef void image_visit(uintptr_t start, uintptr_t size, uint32_t name, void *arg);
void image_functions(struct image *image, image_visit *visit, void *arg);

/* The text of a name, until the next call, or NULL. */
const char *image_name(struct image *image, uint32_t name);
