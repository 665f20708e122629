/* SPDX-License-Identifier: BSD-3-Clause */

/* Comma-separated words of OSMEM_OPTIONS, read in place. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct word {
	const char *at;
	size_t len;
};

/* The first word of a text. Behind the last word, *at is '\0'. */
static inline struct word word_first(const char *at)
{
	struct word word = {.at = at};

	while (at[word.len] && at[word.len] != ',')
		word.len++;
	return word;
}

static inline struct word word_next(struct word word)
{
	return word_first(word.at + word.len + (word.at[word.len] == ','));
}

static inline bool word_is(struct word word, const char *text)
{
	return word.len == strlen(text) && memcmp(word.at, text, word.len) == 0;
}

static inline bool word_ends_in(struct word word, const char *end)
{
	size_t len = strlen(end);

	return word.len >= len && memcmp(word.at + word.len - len, end, len) == 0;
}

/* Whether a word of text, which may be NULL, is name. */
static inline bool words_have(const char *text, const char *name)
{
	struct word word = word_first(text ? text : "");

	while (*word.at && !word_is(word, name))
		word = word_next(word);
	return *word.at;
}

/* Take the decimal number that *word begins with. False: there is none, or it is too large. */
static inline bool word_take_number(struct word *word, size_t *number)
{
	bool is_any = false;

	for (*number = 0; word->len && *word->at >= '0' && *word->at <= '9';
	     word->at++, word->len--) {
		if (__builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, (size_t)(*word->at - '0'), number))
			return false;
		is_any = true;
	}
	return is_any;
}

/* The first "%p" in word, which means the process id, or NULL. */
static inline const char *word_find_id(struct word word)
{
	for (size_t i = 0; i + 1 < word.len; i++)
		if (word.at[i] == '%' && word.at[i + 1] == 'p')
			return word.at + i;
	return NULL;
}
