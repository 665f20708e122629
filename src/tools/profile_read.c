// SPDX-License-Identifier: BSD-3-Clause

/*
 * The reader of profile.proto. Nothing in a file is trusted: lengths end inside of what contains
 * them, references point to what exists, and known fields have their types. Unknown fields are
 * skipped. Memory is proportional to the file.
 *
 * A problem is kept in the reader; then all slices look empty, so loops end by themselves.
 */

#include "profile.h"

#include <stdlib.h>
#include <string.h>

#include "heapview.h"

enum wire {
	VARINT = 0,
	FIXED64 = 1,
	BYTES = 2,
	FIXED32 = 5
};

struct slice {
	const uint8_t *at, *end;
};

struct field {
	const uint8_t *start;
	unsigned int number;
	enum wire type;
	uint64_t value; /* VARINT */
	struct slice bytes; /* BYTES */
};

#define TYPES_MAX 16

struct reader {
	struct profile *p;
	struct profile_error *error;
	const uint8_t *start;
	uint64_t types[TYPES_MAX]; /* strings */
	size_t type_count;
	int measures[TYPES_MAX]; /* of the values of a sample; -1 for others */
	uint64_t *values; /* of all samples, type_count each */
	size_t value_count;
};

static void fail(struct reader *r, const uint8_t *at, const char *text)
{
	if (r->error->text)
		return;
	r->error->text = text;
	r->error->at = (size_t)(at - r->start);
}

/* Room for one more element of *array. */
#define APPEND(array, count)                                                                       \
	((count) & ((count)-1)                                                                     \
		 ? (void)0                                                                         \
		 : (void)((array) = grow(array, (count) ? 2 * (count) : 1, sizeof(*(array)))))

static uint64_t varint(struct reader *r, struct slice *s)
{
	const uint8_t *start = s->at;
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 70 && s->at < s->end; shift += 7) {
		uint8_t byte = *s->at++;

		if (shift == 63 && byte > 1)
			break;
		value |= (uint64_t)(byte & 127) << shift;
		if (byte < 128)
			return value;
	}
	fail(r, start, "a number has no end");
	s->at = s->end;
	return 0;
}

static struct slice take(struct reader *r, struct slice *s, uint64_t bytes)
{
	struct slice part = {s->at, s->at};

	if (bytes > (uint64_t)(s->end - s->at)) {
		fail(r, s->at, "a field ends behind what contains it");
		s->at = s->end;
		return part;
	}
	part.end = s->at += bytes;
	return part;
}

/* The next field of a message. False at its end, and after a problem. */
static bool next_field(struct reader *r, struct slice *s, struct field *f)
{
	uint64_t key;

	if (r->error->text || s->at >= s->end)
		return false;
	*f = (struct field){.start = s->at};
	key = varint(r, s);
	f->number = (unsigned int)(key >> 3);
	f->type = (enum wire)(key & 7);
	if (key >> 3 == 0 || key >> 32)
		fail(r, f->start, "a field has no valid number");
	else if (f->type == VARINT)
		f->value = varint(r, s);
	else if (f->type == FIXED64)
		take(r, s, 8);
	else if (f->type == FIXED32)
		take(r, s, 4);
	else if (f->type == BYTES)
		f->bytes = take(r, s, varint(r, s));
	else
		fail(r, f->start, "a field has an unknown type");
	return !r->error->text;
}

static uint64_t number_of(struct reader *r, const struct field *f)
{
	if (f->type != VARINT)
		fail(r, f->start, "a number is expected");
	return f->value;
}

static struct slice message_of(struct reader *r, const struct field *f)
{
	if (f->type != BYTES)
		fail(r, f->start, "a message or text is expected");
	return f->bytes;
}

/* The next of repeated numbers, which are packed or not. Begin with *is_first. */
static bool next_number(struct reader *r, struct field *f, bool *is_first, uint64_t *number)
{
	if (f->type != BYTES) {
		bool had_first = *is_first;

		*is_first = false;
		*number = number_of(r, f);
		return had_first && !r->error->text;
	}
	if (f->bytes.at >= f->bytes.end)
		return false;
	*number = varint(r, &f->bytes);
	return !r->error->text;
}

static void read_type(struct reader *r, const struct field *whole)
{
	struct slice s = message_of(r, whole);
	uint64_t type = 0;
	struct field f;

	while (next_field(r, &s, &f))
		if (f.number == 1)
			type = number_of(r, &f);
	if (r->type_count == TYPES_MAX)
		fail(r, whole->start, "too many sample types");
	else
		r->types[r->type_count++] = type;
}

static void read_sample(struct reader *r, const struct field *whole)
{
	struct slice s = message_of(r, whole);
	struct sample sample = {.first = r->p->stack_count};
	size_t first_value = r->value_count;
	uint64_t number;
	struct field f;

	while (next_field(r, &s, &f)) {
		bool is_first = true;

		while (f.number == 1 && next_number(r, &f, &is_first, &number)) {
			APPEND(r->p->stack, r->p->stack_count);
			r->p->stack[r->p->stack_count++] = number;
		}
		while (f.number == 2 && next_number(r, &f, &is_first, &number)) {
			APPEND(r->values, r->value_count);
			r->values[r->value_count++] = number;
		}
	}
	sample.depth = r->p->stack_count - sample.first;
	/* Types may follow the samples; then values[0] and [1] tell where the values are. */
	sample.values[0] = first_value;
	sample.values[1] = r->value_count - first_value;
	APPEND(r->p->samples, r->p->sample_count);
	r->p->samples[r->p->sample_count++] = sample;
}

static void read_mapping(struct reader *r, const struct field *whole)
{
	struct slice s = message_of(r, whole);
	struct mapping m = {0};
	uint64_t *const members[] = {&m.id,	&m.start,	&m.limit,
				     &m.offset, &m.file_string, &m.build_id_string};
	struct field f;

	while (next_field(r, &s, &f))
		if (f.number <= sizeof(members) / sizeof(members[0]))
			*members[f.number - 1] = number_of(r, &f);
	APPEND(r->p->mappings, r->p->mapping_count);
	r->p->mappings[r->p->mapping_count++] = m;
}

static void read_line(struct reader *r, const struct field *whole)
{
	struct slice s = message_of(r, whole);
	uint64_t function = 0;
	struct field f;

	while (next_field(r, &s, &f))
		if (f.number == 1)
			function = number_of(r, &f);
	APPEND(r->p->lines, r->p->line_count);
	r->p->lines[r->p->line_count++] = function;
}

static void read_location(struct reader *r, const struct field *whole)
{
	struct slice s = message_of(r, whole);
	struct location l = {.first_line = r->p->line_count};
	struct field f;

	while (next_field(r, &s, &f)) {
		if (f.number == 1)
			l.id = number_of(r, &f);
		else if (f.number == 2)
			l.mapping_id = number_of(r, &f);
		else if (f.number == 3)
			l.address = number_of(r, &f);
		else if (f.number == 4)
			read_line(r, &f);
	}
	l.lines = r->p->line_count - l.first_line;
	APPEND(r->p->locations, r->p->location_count);
	r->p->locations[r->p->location_count++] = l;
}

static void read_function(struct reader *r, const struct field *whole)
{
	struct slice s = message_of(r, whole);
	struct function function = {0};
	struct field f;

	while (next_field(r, &s, &f)) {
		if (f.number == 1)
			function.id = number_of(r, &f);
		else if (f.number == 2)
			function.name_string = number_of(r, &f);
	}
	APPEND(r->p->functions, r->p->function_count);
	r->p->functions[r->p->function_count++] = function;
}

static void read_string(struct reader *r, const struct field *whole)
{
	struct slice s = message_of(r, whole);
	size_t length = (size_t)(s.end - s.at);
	char *copy = grow(NULL, length + 1, 1);

	if (length)
		memcpy(copy, s.at, length);
	copy[length] = '\0';
	APPEND(r->p->strings, r->p->string_count);
	r->p->strings[r->p->string_count++] = copy;
}

static void read_profile(struct reader *r, struct slice s)
{
	static void (*const readers[])(struct reader *, const struct field *) = {
		[1] = read_type,     [2] = read_sample,	  [3] = read_mapping,
		[4] = read_location, [5] = read_function, [6] = read_string,
	};
	struct field f;

	while (next_field(r, &s, &f)) {
		if (f.number < sizeof(readers) / sizeof(readers[0]))
			readers[f.number](r, &f);
		else if (f.number == 9)
			r->p->time_ns = number_of(r, &f);
		else if (f.number == 10)
			r->p->duration_ns = number_of(r, &f);
		else if (f.number == 12)
			r->p->period = number_of(r, &f);
		/* Some string of a random file may parse. Types and samples in it do not. */
		if (r->type_count && r->p->string_count)
			r->error->is_profile = true;
	}
}

/* References. The place of these problems is not known any more: they are at the end. */

static const char *string_at(struct reader *r, uint64_t index, const uint8_t *end)
{
	if (index < r->p->string_count)
		return r->p->strings[index];
	fail(r, end, "a text is missing");
	return "";
}

/* Objects begin with their ids. */
static int by_id(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

static void sort(struct reader *r, void *array, size_t count, size_t size, const uint8_t *end)
{
	const char *p = array;

	if (count)
		qsort(array, count, size, by_id);
	for (size_t i = 1; i < count; i++)
		if (by_id(p + (i - 1) * size, p + i * size) == 0)
			fail(r, end, "two objects have the same id");
}

static void *find(uint64_t id, void *array, size_t count, size_t size)
{
	return count ? bsearch(&id, array, count, size, by_id) : NULL;
}

static void resolve_types(struct reader *r, const uint8_t *end)
{
	static const char *const names[] = {"inuse_objects", "inuse_space", "alloc_objects",
					    "alloc_space"};
	bool has_some = false;

	for (size_t i = 0; i < r->type_count; i++) {
		const char *name = string_at(r, r->types[i], end);

		r->measures[i] = -1;
		for (int k = 0; k < MEASURES; k++) {
			if (strcmp(name, names[k]) == 0 && !r->p->has[k]) {
				r->p->has[k] = has_some = true;
				r->measures[i] = k;
			}
		}
	}
	if (!has_some)
		fail(r, end, "it has no values of a heap: inuse_space, alloc_space");
}

static void resolve_sample(struct reader *r, struct sample *s, const uint8_t *end)
{
	const uint64_t *values;

	if (s->values[1] != r->type_count) {
		fail(r, end, "a sample does not have a value of each type");
		return;
	}
	values = r->values + s->values[0];
	memset(s->values, 0, sizeof(s->values));
	for (size_t i = 0; i < r->type_count; i++) {
		if (r->measures[i] < 0)
			continue;
		if (values[i] >> 63)
			fail(r, end, "a value is negative");
		s->values[r->measures[i]] = values[i];
	}
}

static void resolve_location(struct reader *r, struct location *l, const uint8_t *end)
{
	struct profile *p = r->p;

	if (!l->mapping_id)
		return;
	l->mapping = find(l->mapping_id, p->mappings, p->mapping_count, sizeof(*p->mappings));
	if (!l->mapping)
		fail(r, end, "a mapping is missing");
}

static void resolve_lines_and_stacks(struct reader *r, const uint8_t *end)
{
	struct profile *p = r->p;

	for (size_t i = 0; i < p->line_count; i++) {
		const struct function *f =
			find(p->lines[i], p->functions, p->function_count, sizeof(*p->functions));

		if (!f)
			fail(r, end, "a function is missing");
		else
			p->lines[i] = (uint64_t)(f - p->functions);
	}
	for (size_t i = 0; i < p->stack_count; i++) {
		const struct location *l =
			find(p->stack[i], p->locations, p->location_count, sizeof(*p->locations));

		if (!l)
			fail(r, end, "a location is missing");
		else
			p->stack[i] = (uint64_t)(l - p->locations);
	}
}

static void resolve(struct reader *r, const uint8_t *end)
{
	struct profile *p = r->p;

	sort(r, p->mappings, p->mapping_count, sizeof(*p->mappings), end);
	sort(r, p->functions, p->function_count, sizeof(*p->functions), end);
	sort(r, p->locations, p->location_count, sizeof(*p->locations), end);
	resolve_types(r, end);
	for (size_t i = 0; i < p->mapping_count; i++) {
		p->mappings[i].file = string_at(r, p->mappings[i].file_string, end);
		p->mappings[i].build_id = string_at(r, p->mappings[i].build_id_string, end);
	}
	for (size_t i = 0; i < p->function_count; i++)
		p->functions[i].name = string_at(r, p->functions[i].name_string, end);
	for (size_t i = 0; i < p->location_count; i++)
		resolve_location(r, &p->locations[i], end);
	resolve_lines_and_stacks(r, end);
	for (size_t i = 0; i < p->sample_count && !r->error->text; i++)
		resolve_sample(r, &p->samples[i], end);
}

int profile_read(struct profile *p, const void *bytes, size_t size, struct profile_error *error)
{
	struct slice all = {bytes, (const uint8_t *)bytes + size};
	struct reader r = {.p = p, .error = error, .start = bytes};

	*p = (struct profile){0};
	*error = (struct profile_error){0};
	read_profile(&r, all);
	if (!error->text)
		resolve(&r, all.end);
	free(r.values);
	return error->text ? -1 : 0;
}

void profile_free(struct profile *p)
{
	for (size_t i = 0; i < p->mapping_count; i++)
		symbols_close(p->mappings[i].symbols);
	for (size_t i = 0; i < p->string_count; i++)
		free(p->strings[i]);
	free(p->mappings);
	free(p->functions);
	free(p->locations);
	free(p->samples);
	free(p->lines);
	free(p->stack);
	free(p->strings);
}
