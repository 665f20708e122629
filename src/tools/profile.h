/* SPDX-License-Identifier: BSD-3-Clause */

/* A heap profile in pprof's format (profile.proto), and the tree of its call stacks. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum measure {
	LIVE_OBJECTS,
	LIVE_BYTES,
	TOTAL_OBJECTS,
	TOTAL_BYTES,
	MEASURES
};

/* A mapped object file. Offsets and addresses are in bytes. */
struct mapping {
	uint64_t id, start, limit, offset;
	uint64_t file_string, build_id_string;
	const char *file, *build_id; /* "" if not known */
	struct symbols *symbols; /* once they were looked up */
};

struct function {
	uint64_t id, name_string;
	const char *name;
};

/* A code address. A profiler that resolves names states lines, the innermost inlined call first. */
struct location {
	uint64_t id, mapping_id, address;
	struct mapping *mapping; /* NULL if not known */
	size_t first_line, lines; /* in profile.lines, which has indices of functions */
};

struct sample {
	size_t first, depth; /* in profile.stack: indices of locations, the innermost first */
	uint64_t values[MEASURES];
};

/* Every index and every pointer in it is valid once profile_read has returned 0. */
struct profile {
	struct mapping *mappings;
	struct function *functions;
	struct location *locations;
	struct sample *samples;
	uint64_t *lines, *stack;
	char **strings;
	size_t mapping_count, function_count, location_count, sample_count, line_count, stack_count,
		string_count;
	bool has[MEASURES];
	uint64_t time_ns, duration_ns, period; /* 0 if not stated */
};

/* What is wrong with a file, and where. */
struct profile_error {
	const char *text;
	size_t at; /* byte of the file */
	bool is_profile; /* it begins like one */
};

/* Read size bytes. Returns 0, or -1 with *error; either way profile_free frees it. */
int profile_read(struct profile *p, const void *bytes, size_t size, struct profile_error *error);
void profile_free(struct profile *p);

/* ---- Symbols ---- */

/*
 * The symbols of the object that is mapped from file and has that build id (hexadecimal; "" if it
 * is not known). They come from the file, or from debug files in folder. Never fails: an object
 * without symbols has a note that says why.
 */
struct symbols *symbols_open(const char *file, const char *build_id, const char *folder);
/* The name of the function at an offset of the mapped file, or NULL. Valid until symbols_close. */
const char *symbols_find(const struct symbols *s, uint64_t offset);
/* The address that the offset has in the file, for addr2line. */
uint64_t symbols_address(const struct symbols *s, uint64_t offset);
/* What a reader should know: no symbols, or another build; NULL if all is well. */
const char *symbols_note(const struct symbols *s);
void symbols_close(struct symbols *s);

/* A copy of a mangled name for readers, or of name itself; the caller frees. */
char *demangle(const char *name);
/*
 * A copy without parameters, with short first arguments of templates only, such as
 * std::vector<int>::push_back; the caller frees.
 */
char *shorten(const char *name);

/* ---- The tree of call stacks ---- */

/* What a frame is called. Two frames are the same if their names and modules are. */
struct name {
	char *text, *brief; /* brief: see shorten */
	const char *module; /* the last part of the file's name, or "" */
	uint64_t self[2][MEASURES], total[2][MEASURES]; /* a recursive function counts once */
	size_t seen; /* the last stack that was counted */
};

/* Nodes follow their parents. Node 0 is the root. */
struct node {
	uint32_t name, parent, first, next; /* first child and next sibling; 0 if there is none */
	uint32_t folded; /* levels of recursion that were left out below it, at most */
	uint64_t self[2][MEASURES], total[2][MEASURES];
};

/* A call of a stack. */
struct call {
	uint32_t name;
	bool has_address; /* otherwise an inlined call, or one in no file */
	uint64_t address; /* in the module */
};

#define OLD 0
#define NEW 1

struct tree {
	struct node *nodes;
	struct name *names; /* the first three are no functions */
	size_t node_count, node_room, name_count, name_room;
	uint32_t *node_slots, *name_slots; /* hash tables of indices, 0 is empty */
	size_t node_slot_count, name_slot_count;
	uint32_t *frames; /* of the present stack */
	uint32_t *folds;
	size_t frame_room, stacks;
	struct call *largest; /* the stack of NEW with most bytes, the innermost call first */
	size_t largest_depth;
	uint64_t largest_values[2][MEASURES];
	char **notes; /* lines for the reader */
	size_t note_count;
	bool has[MEASURES], is_diff;
	uint64_t time_ns[2], duration_ns[2], period;
	size_t samples[2];
};

void tree_init(struct tree *t);
/* Add the samples of p, as OLD or NEW. Looks up symbols; folder is as above. */
void tree_add(struct tree *t, struct profile *p, int side, const char *folder);
/* Sum up, and leave out the smallest nodes, so that at most about max are left. */
void tree_finish(struct tree *t, size_t max);
void tree_free(struct tree *t);
/* The next node in preorder, or 0. Adds the change of depth to *depth. */
uint32_t tree_next(const struct tree *t, uint32_t node, size_t *depth);
/*
 * The names in the order of a table: by live bytes, or, with two profiles, by their difference.
 * The caller frees.
 */
uint32_t *tree_ranking(const struct tree *t, size_t *count);

/* The measure that is shown first: live bytes if there are any. */
enum measure tree_measure(const struct tree *t);

/* Format a value for readers, or, of two profiles, how much more or less it has become. */
void amount_of(char text[32], const struct tree *t, const uint64_t values[2][MEASURES],
	       enum measure k);

/* Write the profile, or the difference of two. */
void profile_page(FILE *out, const struct tree *t, const char *title);
void profile_svg(FILE *out, const struct tree *t, const char *title);
void profile_text(FILE *out, const struct tree *t);
