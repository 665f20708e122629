// SPDX-License-Identifier: BSD-3-Clause

/*
 * Objects are found by _dl_find_object of glibc 2.35, which takes no lock and may be called in a
 * signal handler. Without it, in static programs and with glibc 2.34, the objects that are loaded
 * at the start are known, and no others. Static programs may have no .eh_frame_hdr. Then the
 * sections of the executable tell where .eh_frame is, and all of it is searched.
 */

#include "object.h"

#include <stddef.h>
#include <string.h>

#include "elf_symbol.h"
#include "hash.h"
#include "helpers.h"

#define OBJECTS_MAX 64

/* struct dl_find_object of glibc, which headers of 2.34 do not have. */
struct found_object {
	unsigned long long flags;
	void *start, *end;
	struct link_map *map;
	void *index;
	unsigned long long reserved[7];
};

typedef int find_object(void *address, struct found_object *result);

/* Written by object_begin. */
static find_object *find;
static struct object objects[OBJECTS_MAX] APART;
static size_t object_count;

/* The program's .eh_frame, by its address. Unchanged if the executable cannot be read. */
static void find_frames(struct object *object, uintptr_t bias)
{
	ElfW(Ehdr) header;
	ElfW(Shdr) section, names;
	char name[sizeof(".eh_frame")];

	if (!sys_read_program(0, &header, sizeof(header)) || !header.e_shnum ||
	    !sys_read_program(header.e_shoff + header.e_shstrndx * sizeof(names), &names,
			      sizeof(names)))
		return;
	for (unsigned int i = 0; i < header.e_shnum; i++)
		if (sys_read_program(header.e_shoff + i * sizeof(section), &section,
				     sizeof(section)) &&
		    sys_read_program(names.sh_offset + section.sh_name, name, sizeof(name)) &&
		    !memcmp(name, ".eh_frame", sizeof(name))) {
			object->frames = (const void *)(bias + section.sh_addr);
			object->frames_end = object->frames + section.sh_size;
		}
}

static int list_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct object object = {.start = UINTPTR_MAX, .name = info->dlpi_name, .id = object_count};

	(void)size, (void)arg;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + segment->p_vaddr;

		if (segment->p_type == PT_GNU_EH_FRAME)
			object.index = (const void *)at;
		if (segment->p_type != PT_LOAD)
			continue;
		object.start = at < object.start ? at : object.start;
		object.end =
			at + segment->p_memsz > object.end ? at + segment->p_memsz : object.end;
	}
	if (!object.index && !*info->dlpi_name)
		find_frames(&object, info->dlpi_addr);
	objects[object_count++] = object;
	return object_count == OBJECTS_MAX;
}

void object_begin(void)
{
	if (!find)
		*(void **)&find = elf_libc_symbol("_dl_find_object");
	if (!find && !object_count)
		dl_iterate_phdr(list_object, NULL);
}

bool object_find(uintptr_t address, struct object *object)
{
	struct found_object found;

	if (find) {
		if (find((void *)address, &found) != 0)
			return false;
		*object = (struct object){.start = (uintptr_t)found.start,
					  .end = (uintptr_t)found.end,
					  .map = found.map,
					  .index = found.index,
					  .id = hash_fast((uintptr_t)found.map) ^
						(uintptr_t)found.index};
		return true;
	}
	for (size_t i = 0; i < object_count; i++)
		if (address - objects[i].start < objects[i].end - objects[i].start) {
			*object = objects[i];
			return true;
		}
	return false;
}
