/* SPDX-License-Identifier: BSD-3-Clause */

/* A terminal of our own, with heapview --live in it, and a process that it watches. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define COLUMNS_MAX 300
#define ROWS_MAX 100

/* What a terminal shows, and what state it is in. */
struct screen {
	int columns, rows, column, row;
	char cells[ROWS_MAX]
		  [COLUMNS_MAX + 1]; /* '\x01' stands for any character that is not ASCII */
	bool is_second, hides_cursor, has_colour, is_wide; /* wide: a line went beyond the edge */
	char sequence[32]; /* an unfinished escape sequence */
	size_t length;
};

void screen_begin(struct screen *s, int columns, int rows);
void screen_put(struct screen *s, const char *bytes, size_t count);
bool screen_has(const struct screen *s, const char *text);
void screen_print(const struct screen *s);

/* What the served process does. */
enum mock {
	MOCK_PLAIN,
	MOCK_UNCOUNTED, /* figures without those that may be missing */
	MOCK_SLOW, /* answers /stats.json after 3 seconds, from the second time on */
	MOCK_DIES, /* ends after 2 answers */
	MOCK_GARBAGE, /* answers with what is no JSON */
	MOCK_REFUSES, /* 503 with a line of text */
};

/* Start a process that serves path. It listens when this returns. */
pid_t mock_start(const char *path, enum mock mock);
