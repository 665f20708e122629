/* SPDX-License-Identifier: BSD-3-Clause */

/* Programs and libraries in memory, and where each has its call frame information. */

#pragma once

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

/* Prepare object_find. May call the loader, so it is for the start of a process. */
void object_begin(void);

/* A program or library in memory, or a part of it, if it has gaps. */
struct object {
	uintptr_t start, end; /* where it is mapped */
	const struct link_map *map; /* of the loader; NULL: name is known instead */
	const char *name; /* as in dl_phdr_info */
	const unsigned char *index; /* its .eh_frame_hdr; NULL: none */
	const unsigned char *frames, *frames_end; /* its .eh_frame, if there is no index */
	uint64_t id; /* differs from that of another object that is loaded here later */
};

/*
 * The object with this address. False: there is none. Takes no lock. Another thread may unload the
 * object, unless its code is on the caller's stack.
 */
bool object_find(uintptr_t address, struct object *object);
