// SPDX-License-Identifier: BSD-3-Clause

/*
 * The screen of a terminal: the sequences that heapview uses, and no others. What is printed behind
 * the last column is noted.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "terminal.h"

static void clear(struct screen *s, int row, int column)
{
	memset(s->cells[row] + column, ' ', (size_t)(s->columns - column));
	s->cells[row][s->columns] = '\0';
}

static void clear_from(struct screen *s, int row)
{
	for (; row < s->rows; row++)
		clear(s, row, 0);
}

void screen_begin(struct screen *s, int columns, int rows)
{
	s->columns = columns;
	s->rows = rows;
	s->column = s->row = 0;
	clear_from(s, 0);
}

/* The sequence behind ESC [ is complete. */
static void obey(struct screen *s)
{
	const char *text = s->sequence;
	char last = text[s->length - 1];

	if (strcmp(text, "?1049h") == 0 || strcmp(text, "?1049l") == 0) {
		s->is_second = last == 'h';
		s->row = s->column = 0;
		clear_from(s, 0);
	} else if (strcmp(text, "?25h") == 0 || strcmp(text, "?25l") == 0)
		s->hides_cursor = last == 'l';
	else if (strcmp(text, "H") == 0)
		s->row = s->column = 0;
	else if (strcmp(text, "K") == 0)
		clear(s, s->row, s->column < s->columns ? s->column : s->columns - 1);
	else if (strcmp(text, "2J") == 0)
		clear_from(s, 0);
	else if (last == 'm' && text[0] == '3')
		s->has_colour = true;
	else if (last != 'm' && strcmp(text, "?7h") != 0 && strcmp(text, "?7l") != 0) {
		printf("unknown sequence %s\n", text);
		exit(1);
	}
}

static void put_sequence(struct screen *s, char c)
{
	s->sequence[s->length++] = c;
	s->sequence[s->length] = '\0';
	if ((c >= '@' && c != '[') || s->length + 1 == sizeof(s->sequence)) {
		s->length -= 2; /* ESC [ */
		memmove(s->sequence, s->sequence + 2, s->length + 1);
		obey(s);
		s->length = 0;
	}
}

void screen_put(struct screen *s, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char c = bytes[i];

		if (s->length || c == '\x1b') {
			put_sequence(s, c);
		} else if (c == '\r') {
			s->column = 0;
		} else if (c == '\n') {
			s->row += s->row + 1 < s->rows;
		} else if (s->column >= s->columns) {
			s->is_wide |= (c & 0xc0) != 0x80;
		} else if ((c & 0xc0) != 0x80) {
			s->cells[s->row][s->column++] = c & 0x80 ? '\x01' : c;
		}
	}
}

bool screen_has(const struct screen *s, const char *text)
{
	for (int row = 0; row < s->rows; row++)
		if (strstr(s->cells[row], text))
			return true;
	return false;
}

void screen_print(const struct screen *s)
{
	for (int row = 0; row < s->rows; row++)
		printf("|%s|\n", s->cells[row]);
}
