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
	return (struct word){.at = at, .len = strcspn(at, ",")};
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
