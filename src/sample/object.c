// SPDX-License-Identifier: BSD-3-Clause

/*
 * Objects are found by _dl_find_object of glibc 2.35, which takes no lock and may be called in a
 * signal handler. Without it, there is a table of the objects that are loaded at the start. With
 * musl, objects that are loaded later are added when an address in them is looked up; in static
 * programs there are none, and with glibc 2.34 they stay unknown. Static programs may have no
 * .eh_frame_hdr. Then the sections of the executable tell where .eh_frame is, and all of it is
 * searched.
 */

#include "object.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>

#include "compat.h"
#include "elf_symbol.h"
#include "hash.h"
#include "helpers.h"

#define OBJECTS_MAX 256

/* struct dl_find_object of glibc, which headers of 2.34 do not have. */
struct found_object {
	unsigned long long flags;
	void *start, *end;
	struct link_map *map;
	void *index;
	unsigned long long reserved[7];
};

typedef int find_object(void *address, struct found_object *result);

static find_object *find; /* written by object_begin */

/* Objects are only added, by one thread at a time; others may read meanwhile. */
static struct object objects[OBJECTS_MAX] APART;
static _Atomic(size_t) object_count;
static unsigned long long adds = -1ULL; /* of the loader, when they were listed */
static atomic_flag is_listing = ATOMIC_FLAG_INIT;

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

/* The object in the table with this address, or NULL. */
static const struct object *look_up(uintptr_t address)
{
	size_t n = atomic_load_explicit(&object_count, memory_order_acquire);

	for (size_t i = 0; i < n; i++)
		if (address - objects[i].start < objects[i].end - objects[i].start)
			return &objects[i];
	return NULL;
}

/* Some loaders name the program by its first argument, others with an empty text. */
static bool is_program(const struct dl_phdr_info *info)
{
	return !*info->dlpi_name || (uintptr_t)info->dlpi_phdr == getauxval(AT_PHDR);
}

static int list_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct object object = {.start = UINTPTR_MAX, .id = object_count};

	(void)size, (void)arg;
	object.name = is_program(info) ? "" : info->dlpi_name;
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
	if (look_up(object.start))
		return 0;
	if (!object.index && !*object.name)
		find_frames(&object, info->dlpi_addr);
	objects[object.id] = object;
	atomic_store_explicit(&object_count, object.id + 1, memory_order_release);
	return object.id + 1 == OBJECTS_MAX;
}

static int count_adds(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	*(unsigned long long *)arg = info->dlpi_adds;
	return 1;
}

/* List those that are new. Another thread may be doing so. */
static void list_new(void)
{
	unsigned long long now = 0;

	if (atomic_flag_test_and_set(&is_listing))
		return;
	dl_iterate_phdr(count_adds, &now);
	if (now != adds && object_count < OBJECTS_MAX)
		dl_iterate_phdr(list_object, NULL);
	adds = now;
	atomic_flag_clear(&is_listing);
}

void object_begin(void)
{
	if (!find)
		*(void **)&find = elf_libc_symbol("_dl_find_object");
	if (!find)
		list_new();
}

bool object_find(uintptr_t address, struct object *object)
{
	const struct object *known;
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
	known = look_up(address);
	if (!known && COMPAT_KEEPS_OBJECTS) {
		list_new();
		known = look_up(address);
	}
	if (known)
		*object = *known;
	return known;
}
