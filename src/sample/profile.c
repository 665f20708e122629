// SPDX-License-Identifier: BSD-3-Clause

/*
 * The content of a profile.
 *
 * 1. It is written as it is made. Samples come first. They refer to locations (the addresses of
 *    calls), which are numbered as they appear. Their table grows and is all that needs memory.
 * 2. Then the locations are sorted by address, and each object that has some is looked at once:
 *    its mapping, and the functions that it exports. Readers find other names by the build id.
 * 3. Texts are numbered in the order of the file, wherever they are in it.
 * 4. A location is within the call, one byte below the return address, as readers expect. Samples
 *    of unknown stacks have one location without an address, in a function "unknown".
 */

#include "profile.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#include "hash.h"
#include "helpers.h"
#include "image.h"
#include "proto.h"
#include "sample.h"
#include "sort.h"
#include "stack.h"

#define PLACES_MIN 4096 /* of the table at first; a power of two */

/* Numbers of fields of profile.proto, message by message. */
enum {
	SAMPLE_TYPE = 1,
	SAMPLE = 2,
	MAPPING = 3,
	LOCATION = 4,
	FUNCTION = 5,
	TEXT = 6,
	TIME = 9,
	PERIOD_TYPE = 11,
	PERIOD = 12,
	DEFAULT_TYPE = 14,
};
enum {
	TYPE = 1,
	UNIT = 2
};
enum {
	SAMPLE_LOCATIONS = 1,
	SAMPLE_VALUES = 2,
	SAMPLE_LABEL = 3
};
enum {
	LABEL_KEY = 1,
	LABEL_NUMBER = 3
};
enum {
	MAPPING_ID = 1,
	MAPPING_START = 2,
	MAPPING_LIMIT = 3,
	MAPPING_OFFSET = 4,
	MAPPING_FILE = 5,
	MAPPING_BUILD_ID = 6,
};
enum {
	LOCATION_ID = 1,
	LOCATION_MAPPING = 2,
	LOCATION_ADDRESS = 3,
	LOCATION_LINE = 4
};
enum {
	LINE_FUNCTION = 1
};
enum {
	FUNCTION_ID = 1,
	FUNCTION_NAME = 2,
	FUNCTION_SYSTEM_NAME = 3
};

/* The first texts. */
enum text {
	EMPTY,
	ALLOC_OBJECTS,
	ALLOC_SPACE,
	INUSE_OBJECTS,
	INUSE_SPACE,
	SPACE,
	COUNT,
	BYTES,
	THREAD,
	UNKNOWN,
	TEXTS,
};

static const char texts[TEXTS][16] = {
	"",	 "alloc_objects", "alloc_space", "inuse_objects", "inuse_space",
	"space", "count",	  "bytes",	 "thread",	  "unknown"};

#define UNKNOWN_ADDRESS UINTPTR_MAX

/* A location. */
struct place {
	uintptr_t address; /* 0: the entry is empty */
	uint32_t id; /* from 1 on */
	uint32_t name; /* of its function, in the object's texts; 0: none */
};

struct profile {
	struct proto proto;
	struct proto_message message, part, line;
	struct image image;
	uint64_t texts, functions, mappings; /* written so far */
	struct place *places; /* by hash of the address, then sorted; at most half full */
	size_t place_room, place_count;
	bool is_full; /* no memory for more places */
};

static uint64_t put_text(struct profile *p, const char *text)
{
	proto_put_text(&p->proto, TEXT, text);
	return p->texts++;
}

/* ---- Locations ---- */

static struct place *find_place(struct place *places, size_t room, uintptr_t address)
{
	size_t i = hash_full(address) & (room - 1);

	while (places[i].address && places[i].address != address)
		i = (i + 1) & (room - 1);
	return &places[i];
}

static bool make_room(struct profile *p)
{
	size_t room = p->place_room ? 2 * p->place_room : PLACES_MIN;
	struct place *places = sys_map(room * sizeof(*places));

	if (!places)
		return false;
	for (size_t i = 0; i < p->place_room; i++)
		if (p->places[i].address)
			*find_place(places, room, p->places[i].address) = p->places[i];
	if (p->place_room)
		sys_release(p->places, p->place_room * sizeof(*places));
	p->places = places;
	p->place_room = room;
	return true;
}

/* The id of the location, or 0. */
static uint32_t location_of(struct profile *p, uintptr_t address)
{
	struct place *place;

	if (2 * p->place_count >= p->place_room && !make_room(p)) {
		p->is_full = true;
		return 0;
	}
	place = find_place(p->places, p->place_room, address);
	if (!place->address)
		*place = (struct place){.address = address, .id = (uint32_t)++p->place_count};
	return place->id;
}

/* ---- Samples ---- */

static void put_sample(const struct sample_entry *e, void *arg)
{
	const uint64_t values[] = {e->total_objects, e->total_bytes, e->live_objects,
				   e->live_bytes};
	uint64_t ids[STACK_FRAMES_MAX];
	struct profile *p = arg;
	size_t n = 0;

	for (size_t i = 0; i < e->depth && i < STACK_FRAMES_MAX; i++)
		ids[n++] = location_of(p, e->frames[i] - 1);
	if (!n)
		ids[n++] = location_of(p, UNKNOWN_ADDRESS);
	p->message.len = 0;
	proto_add_numbers(&p->message, SAMPLE_LOCATIONS, ids, n);
	proto_add_numbers(&p->message, SAMPLE_VALUES, values, COUNT_OF(values));
	if (e->thread) {
		p->part.len = 0;
		proto_add_number(&p->part, LABEL_KEY, THREAD);
		proto_add_number(&p->part, LABEL_NUMBER, e->thread);
		proto_add_message(&p->message, SAMPLE_LABEL, &p->part);
	}
	proto_put_message(&p->proto, SAMPLE, &p->message);
}

static void put_type(struct profile *p, unsigned int field, enum text type, enum text unit)
{
	p->message.len = 0;
	proto_add_number(&p->message, TYPE, type);
	proto_add_number(&p->message, UNIT, unit);
	proto_put_message(&p->proto, field, &p->message);
}

/* Types have the order of Go's heap profiles. */
static void put_head(struct profile *p)
{
	struct sample_stats stats;

	sample_get_stats(&stats);
	for (unsigned int i = 0; i < TEXTS; i++)
		put_text(p, texts[i]);
	put_type(p, SAMPLE_TYPE, ALLOC_OBJECTS, COUNT);
	put_type(p, SAMPLE_TYPE, ALLOC_SPACE, BYTES);
	put_type(p, SAMPLE_TYPE, INUSE_OBJECTS, COUNT);
	put_type(p, SAMPLE_TYPE, INUSE_SPACE, BYTES);
	proto_put_number(&p->proto, DEFAULT_TYPE, INUSE_SPACE);
	put_type(p, PERIOD_TYPE, SPACE, BYTES);
	proto_put_number(&p->proto, PERIOD, stats.interval);
	proto_put_number(&p->proto, TIME, sys_wall_ns());
}

static bool is_place_before(const void *a, const void *b)
{
	return ((const struct place *)a)->address < ((const struct place *)b)->address;
}

/* Take the places out of the hash table, into a list in order. */
static void sort_places(struct profile *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->place_room; i++)
		if (p->places[i].address)
			p->places[n++] = p->places[i];
	sort(p->places, n, sizeof(*p->places), is_place_before);
}

/* The number of places below the address. */
static size_t places_below(const struct profile *p, uintptr_t address)
{
	size_t low = 0, high = p->place_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (p->places[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- Objects ---- */

static void name_places(uintptr_t start, uintptr_t size, uint32_t name, void *arg)
{
	struct profile *p = arg;

	for (size_t i = places_below(p, start); i < p->place_count; i++) {
		if (p->places[i].address - start >= size)
			return;
		if (!p->places[i].name)
			p->places[i].name = name;
	}
}

static uint64_t put_function(struct profile *p, uint64_t name)
{
	p->message.len = 0;
	proto_add_number(&p->message, FUNCTION_ID, ++p->functions);
	proto_add_number(&p->message, FUNCTION_NAME, name);
	proto_add_number(&p->message, FUNCTION_SYSTEM_NAME, name);
	proto_put_message(&p->proto, FUNCTION, &p->message);
	return p->functions;
}

static void put_location(struct profile *p, const struct place *place, uint64_t mapping,
			 uint64_t function)
{
	p->message.len = p->line.len = 0;
	proto_add_number(&p->message, LOCATION_ID, place->id);
	proto_add_number(&p->message, LOCATION_MAPPING, mapping);
	if (place->address != UNKNOWN_ADDRESS)
		proto_add_number(&p->message, LOCATION_ADDRESS, place->address);
	if (function) {
		proto_add_number(&p->line, LINE_FUNCTION, function);
		proto_add_message(&p->message, LOCATION_LINE, &p->line);
	}
	proto_put_message(&p->proto, LOCATION, &p->message);
}

/* Places of one function are neighbours. */
static void put_locations(struct profile *p, size_t first, size_t end, uint64_t mapping)
{
	uint64_t function = 0;
	uint32_t name = 0;
	const char *text;

	for (size_t i = first; i < end; i++) {
		const struct place *place = &p->places[i];

		if (place->name != name) {
			name = place->name;
			text = name ? image_name(&p->image, name) : NULL;
			function = text ? put_function(p, put_text(p, text)) : 0;
		}
		put_location(p, place, mapping, function);
	}
}

static uint64_t put_mapping(struct profile *p)
{
	p->message.len = 0;
	proto_add_number(&p->message, MAPPING_ID, ++p->mappings);
	proto_add_number(&p->message, MAPPING_START, p->image.start);
	proto_add_number(&p->message, MAPPING_LIMIT, p->image.end);
	proto_add_number(&p->message, MAPPING_OFFSET, p->image.offset);
	proto_add_number(&p->message, MAPPING_FILE, put_text(p, p->image.path));
	if (*p->image.build_id)
		proto_add_number(&p->message, MAPPING_BUILD_ID, put_text(p, p->image.build_id));
	proto_put_message(&p->proto, MAPPING, &p->message);
	return p->mappings;
}

/* The first mapping is that of the program: readers name the profile after it. */
static void put_objects(struct profile *p)
{
	uintptr_t program = image_find(&p->image, getauxval(AT_ENTRY)) ? p->image.start : 0;
	size_t end;

	if (program)
		put_mapping(p);
	for (size_t i = 0; i < p->place_count; i = end) {
		uintptr_t address = p->places[i].address;
		uint64_t mapping = 0;

		end = i + 1;
		if (address == UNKNOWN_ADDRESS) {
			put_location(p, &p->places[i], 0, put_function(p, UNKNOWN));
			continue;
		}
		if (image_find(&p->image, address)) {
			mapping = p->image.start == program ? 1 : put_mapping(p);
			end = places_below(p, p->image.end);
			image_functions(&p->image, name_places, p);
		}
		put_locations(p, i, end, mapping);
	}
}

bool profile_stream(bool (*write)(void *arg, const void *data, size_t len), void *arg)
{
	struct profile *p = sys_map(sizeof(*p));
	bool is_complete = false;
	int error;

	if (!p)
		return false;
	p->proto.write = write;
	p->proto.arg = arg;
	put_head(p);
	if (sample_each_stack(put_sample, p) && !p->is_full) {
		sort_places(p);
		put_objects(p);
		is_complete = proto_finish(&p->proto);
	} else {
		errno = ENOMEM;
	}
	error = errno;
	if (p->place_room)
		sys_release(p->places, p->place_room * sizeof(*p->places));
	sys_release(p, sizeof(*p));
	errno = error;
	return is_complete;
}
