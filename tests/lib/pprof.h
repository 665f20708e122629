/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A strict reader of pprof's profile.proto, uncompressed: every byte has to make sense, and every
 * reference has to lead to something. It allocates nothing, because the profile may be of the
 * process that reads it.
 */

#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define PPROF_MAX 20000 /* of each kind */
#define PPROF_DEPTH 64
#define PPROF_TYPES 4

enum {
	ALLOC_OBJECTS,
	ALLOC_SPACE,
	INUSE_OBJECTS,
	INUSE_SPACE
};

struct pprof_text {
	const char *at; /* not terminated */
	size_t len;
};

struct pprof_mapping {
	uint64_t id, start, limit, offset, file, build_id;
};

struct pprof_location {
	uint64_t id, mapping, address, function;
};

struct pprof_function {
	uint64_t id, name, system_name;
};

struct pprof_sample {
	uint64_t locations[PPROF_DEPTH], values[PPROF_TYPES];
	size_t depth, value_count;
	uint64_t label_key, label;
};

struct pprof {
	struct pprof_text texts[PPROF_MAX];
	struct pprof_mapping mappings[PPROF_MAX];
	struct pprof_location locations[PPROF_MAX];
	struct pprof_function functions[PPROF_MAX];
	struct pprof_sample samples[PPROF_MAX];
	size_t text_count, mapping_count, location_count, function_count, sample_count;
	uint64_t types[PPROF_TYPES][2], period_type[2]; /* type and unit */
	size_t type_count;
	uint64_t period, time, default_type;
	uint64_t totals[PPROF_TYPES];
};

/* ---- The wire ---- */

struct pprof_reader {
	const unsigned char *at, *end;
};

static inline uint64_t pprof_number(struct pprof_reader *r)
{
	uint64_t value = 0;

	for (unsigned int shift = 0;; shift += 7) {
		CHECK(r->at < r->end && shift < 64);
		value |= (uint64_t)(*r->at & 0x7f) << shift;
		if (!(*r->at++ & 0x80))
			return value;
	}
}

/* What is within a field of bytes. */
static inline struct pprof_reader pprof_part(struct pprof_reader *r)
{
	uint64_t size = pprof_number(r);
	struct pprof_reader part = {.at = r->at, .end = r->at + size};

	CHECK(size <= (uint64_t)(r->end - r->at));
	r->at += size;
	return part;
}

/* The number of the next field, which has to be of that wire type: 0 a number, 2 bytes. */
static inline unsigned int pprof_field(struct pprof_reader *r, unsigned int *type)
{
	uint64_t key = pprof_number(r);

	*type = key & 7;
	CHECK(*type == 0 || *type == 2);
	return (unsigned int)(key >> 3);
}

/* A message of numbers only: those of field i go to *to[i]; NULL: there is no such field. */
static inline void pprof_numbers(struct pprof_reader r, uint64_t *const *to, size_t count)
{
	unsigned int type;

	while (r.at < r.end) {
		unsigned int field = pprof_field(&r, &type);

		CHECK_MSG(type == 0 && field < count && to[field], "field %u", field);
		*to[field] = pprof_number(&r);
	}
}

#define PPROF_NUMBERS(part, ...)                                                                   \
	pprof_numbers(part, (uint64_t *const[]){__VA_ARGS__},                                      \
		      sizeof((uint64_t *const[]){__VA_ARGS__}) / sizeof(uint64_t *))

/* ---- Messages ---- */

static inline size_t pprof_packed(struct pprof_reader r, uint64_t *to, size_t max)
{
	size_t n = 0;

	while (r.at < r.end) {
		CHECK(n < max);
		to[n++] = pprof_number(&r);
	}
	return n;
}

static inline void pprof_sample(struct pprof_reader r, struct pprof_sample *s)
{
	unsigned int type;

	while (r.at < r.end) {
		unsigned int field = pprof_field(&r, &type);
		struct pprof_reader part;

		CHECK(type == 2);
		part = pprof_part(&r);
		if (field == 1)
			s->depth = pprof_packed(part, s->locations, PPROF_DEPTH);
		else if (field == 2)
			s->value_count = pprof_packed(part, s->values, PPROF_TYPES);
		else if (field == 3)
			PPROF_NUMBERS(part, NULL, &s->label_key, NULL, &s->label);
		else
			CHECK_MSG(false, "field %u of a sample", field);
	}
}

static inline void pprof_location(struct pprof_reader r, struct pprof_location *l)
{
	uint64_t *const to[] = {NULL, &l->id, &l->mapping, &l->address};
	unsigned int type;

	while (r.at < r.end) {
		unsigned int field = pprof_field(&r, &type);

		if (field == 4) {
			CHECK(type == 2 && !l->function);
			PPROF_NUMBERS(pprof_part(&r), NULL, &l->function);
			continue;
		}
		CHECK_MSG(type == 0 && field >= 1 && field <= 3, "field %u of a location", field);
		*to[field] = pprof_number(&r);
	}
}

static inline void pprof_mapping(struct pprof_reader r, struct pprof_mapping *m)
{
	PPROF_NUMBERS(r, NULL, &m->id, &m->start, &m->limit, &m->offset, &m->file, &m->build_id);
}

static inline void pprof_profile(struct pprof_reader r, struct pprof *p)
{
	uint64_t *const numbers[] = {[9] = &p->time, [12] = &p->period, [14] = &p->default_type};
	unsigned int type;

	while (r.at < r.end) {
		unsigned int field = pprof_field(&r, &type);
		struct pprof_reader part;

		if (type == 0) {
			CHECK(field < sizeof(numbers) / sizeof(*numbers) && numbers[field]);
			*numbers[field] = pprof_number(&r);
			continue;
		}
		part = pprof_part(&r);
		CHECK(p->sample_count < PPROF_MAX && p->location_count < PPROF_MAX &&
		      p->text_count < PPROF_MAX && p->mapping_count < PPROF_MAX &&
		      p->function_count < PPROF_MAX);
		if (field == 1 && p->type_count < PPROF_TYPES) {
			PPROF_NUMBERS(part, NULL, &p->types[p->type_count][0],
				      &p->types[p->type_count][1]);
			p->type_count++;
		} else if (field == 2) {
			pprof_sample(part, &p->samples[p->sample_count++]);
		} else if (field == 3) {
			pprof_mapping(part, &p->mappings[p->mapping_count++]);
		} else if (field == 4) {
			pprof_location(part, &p->locations[p->location_count++]);
		} else if (field == 5) {
			struct pprof_function *f = &p->functions[p->function_count++];

			PPROF_NUMBERS(part, NULL, &f->id, &f->name, &f->system_name);
		} else if (field == 6) {
			p->texts[p->text_count++] = (struct pprof_text){
				.at = (const char *)part.at, .len = (size_t)(part.end - part.at)};
		} else {
			CHECK_MSG(field == 11, "field %u of the profile", field);
			PPROF_NUMBERS(part, NULL, &p->period_type[0], &p->period_type[1]);
		}
	}
}

/* ---- References ---- */

static inline bool pprof_is(const struct pprof *p, uint64_t text, const char *want)
{
	CHECK(text < p->text_count);
	return p->texts[text].len == strlen(want) &&
	       memcmp(p->texts[text].at, want, strlen(want)) == 0;
}

#define PPROF_FIND(kind)                                                                           \
	static inline const struct pprof_##kind *pprof_find_##kind(const struct pprof *p,          \
								   uint64_t id)                    \
	{                                                                                          \
		const struct pprof_##kind *found = NULL;                                           \
                                                                                                   \
		for (size_t i = 0; i < p->kind##_count; i++)                                       \
			if (p->kind##s[i].id == id) {                                              \
				CHECK_MSG(!found, "two %ss %zu", #kind, (size_t)id);               \
				found = &p->kind##s[i];                                            \
			}                                                                          \
		CHECK_MSG(id &&found, "no " #kind " %zu", (size_t)id);                             \
		return found;                                                                      \
	}

PPROF_FIND(mapping)
PPROF_FIND(function)
PPROF_FIND(location)

static inline bool pprof_is_build_id(const struct pprof *p, uint64_t text)
{
	const struct pprof_text *t = &p->texts[text];

	for (size_t i = 0; i < t->len; i++)
		if (!strchr("0123456789abcdef", t->at[i]))
			return false;
	return t->len % 2 == 0;
}

static inline void pprof_check_head(const struct pprof *p)
{
	static const char *const types[PPROF_TYPES] = {"alloc_objects", "alloc_space",
						       "inuse_objects", "inuse_space"};
	static const char *const units[PPROF_TYPES] = {"count", "bytes", "count", "bytes"};

	CHECK(p->text_count && p->texts[0].len == 0);
	CHECK(p->type_count == PPROF_TYPES);
	for (size_t i = 0; i < PPROF_TYPES; i++)
		CHECK(pprof_is(p, p->types[i][0], types[i]) &&
		      pprof_is(p, p->types[i][1], units[i]));
	CHECK(pprof_is(p, p->period_type[0], "space") && pprof_is(p, p->period_type[1], "bytes"));
	CHECK(pprof_is(p, p->default_type, "inuse_space"));
	CHECK(p->period && p->time);
}

static inline void pprof_check_references(const struct pprof *p)
{
	for (size_t i = 0; i < p->mapping_count; i++) {
		const struct pprof_mapping *m = &p->mappings[i];

		CHECK(pprof_find_mapping(p, m->id) == m && m->start < m->limit);
		CHECK(m->start % 4096 == 0 && m->limit % 4096 == 0 && m->offset % 4096 == 0);
		CHECK(m->file < p->text_count && p->texts[m->file].len);
		CHECK(m->build_id < p->text_count && pprof_is_build_id(p, m->build_id));
	}
	for (size_t i = 0; i < p->function_count; i++) {
		const struct pprof_function *f = &p->functions[i];

		CHECK(pprof_find_function(p, f->id) == f && f->name && f->name < p->text_count);
		CHECK(f->system_name == f->name && p->texts[f->name].len);
	}
	for (size_t i = 0; i < p->location_count; i++) {
		const struct pprof_location *l = &p->locations[i];

		CHECK(pprof_find_location(p, l->id) == l);
		if (l->function)
			pprof_find_function(p, l->function);
		if (l->mapping) {
			const struct pprof_mapping *m = pprof_find_mapping(p, l->mapping);

			CHECK(l->address >= m->start && l->address < m->limit);
		}
		CHECK(l->address || (l->function && !l->mapping));
	}
}

/* Read the file; everything is checked. */
static inline void pprof_read(struct pprof *p, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const unsigned char *at;

	CHECK_MSG(fd >= 0 && fstat(fd, &st) == 0 && st.st_size, "no profile in %s", path);
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED && close(fd) == 0);
	memset(p, 0, sizeof(*p));
	pprof_profile((struct pprof_reader){.at = at, .end = at + st.st_size}, p);
	pprof_check_head(p);
	pprof_check_references(p);
	for (size_t i = 0; i < p->sample_count; i++) {
		const struct pprof_sample *s = &p->samples[i];

		CHECK(s->depth && s->value_count == PPROF_TYPES);
		for (size_t k = 0; k < s->depth; k++)
			pprof_find_location(p, s->locations[k]);
		for (size_t k = 0; k < PPROF_TYPES; k++)
			p->totals[k] += s->values[k];
		CHECK(!s->label_key || pprof_is(p, s->label_key, "thread"));
	}
}

/* The address of the frame at that depth, 0 is the innermost; 0: there is none. */
static inline uint64_t pprof_address(const struct pprof *p, const struct pprof_sample *s,
				     size_t depth)
{
	return depth < s->depth ? pprof_find_location(p, s->locations[depth])->address : 0;
}
