/* SPDX-License-Identifier: BSD-3-Clause */

/* The texts of the statistics: stats.c has the tables. */

#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "inspect.h"
#include "text.h"

/* The cells of a size class. The figures are read one after another, so sums may not agree. */
struct stats_class {
	size_t size; /* of a cell */
	size_t slabs, room; /* room: the cells that fit into the slabs */
	size_t live, cached; /* owned by the program; in thread caches and depots */
};

/* False if the class has no slab. */
bool stats_get_class(unsigned int class, struct stats_class *c);

/* The figure at an offset in a struct of figures. */
static inline size_t stats_figure(const void *of, size_t offset)
{
	return *(const size_t *)(const void *)((const char *)of + offset);
}

/* The name of a call in table and JSON. */
const char *stats_call_name(enum trace_name call);
