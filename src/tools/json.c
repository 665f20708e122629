// SPDX-License-Identifier: BSD-3-Clause

/* A recursive parser, whose depth is limited. */

#include "json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "heapview.h"

#define DEPTH_MAX 32

struct parser {
	struct json *j;
	const char *at, *end;
	size_t depth;
};

static bool parse_value(struct parser *p);

static void skip_space(struct parser *p)
{
	while (p->at < p->end && strchr(" \t\r\n", *p->at) && *p->at)
		p->at++;
}

static bool accept(struct parser *p, char c)
{
	skip_space(p);
	if (p->at >= p->end || *p->at != c)
		return false;
	p->at++;
	return true;
}

static size_t begin_node(struct parser *p, enum json_kind kind)
{
	struct json *j = p->j;

	if ((j->count & (j->count - 1)) == 0)
		j->nodes = grow(j->nodes, j->count ? 2 * j->count : 1, sizeof(*j->nodes));
	j->nodes[j->count] = (struct json_node){.kind = kind, .start = (size_t)(p->at - j->text)};
	return j->count++;
}

static bool end_node(struct parser *p, size_t node, const char *end)
{
	struct json_node *n = &p->j->nodes[node];

	n->length = (size_t)(end - p->j->text) - n->start;
	n->next = p->j->count;
	return true;
}

static bool is_escape(const char *at, const char *end)
{
	if (end - at < 2)
		return false;
	if (at[1] != 'u')
		return at[1] && strchr("\"\\/bfnrt", at[1]);
	for (int i = 2; i < 6; i++)
		if (end - at <= i || !isxdigit((unsigned char)at[i]))
			return false;
	return true;
}

/* Behind the first quote. */
static bool parse_string(struct parser *p)
{
	size_t node = begin_node(p, JSON_STRING);

	while (p->at < p->end && *p->at != '"') {
		if ((unsigned char)*p->at < ' ')
			return false;
		if (*p->at == '\\' && !is_escape(p->at, p->end))
			return false;
		p->at += *p->at == '\\' ? 2 : 1;
	}
	if (p->at >= p->end)
		return false;
	return end_node(p, node, p->at++);
}

static size_t digits(struct parser *p)
{
	const char *start = p->at;

	while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
		p->at++;
	return (size_t)(p->at - start);
}

static bool parse_number(struct parser *p)
{
	size_t node = begin_node(p, JSON_NUMBER), length;
	bool has_zero;

	if (*p->at == '-')
		p->at++;
	has_zero = p->at < p->end && *p->at == '0';
	length = digits(p);
	if (!length || (has_zero && length > 1))
		return false;
	if (p->at < p->end && *p->at == '.') {
		p->at++;
		if (!digits(p))
			return false;
	}
	if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
		p->at++;
		if (p->at < p->end && (*p->at == '+' || *p->at == '-'))
			p->at++;
		if (!digits(p))
			return false;
	}
	return end_node(p, node, p->at);
}

static bool parse_word(struct parser *p, const char *word, enum json_kind kind)
{
	size_t length = strlen(word), node = begin_node(p, kind);

	if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length) != 0)
		return false;
	p->at += length;
	return end_node(p, node, p->at);
}

/* Behind the first bracket. */
static bool parse_items(struct parser *p, enum json_kind kind)
{
	char close = kind == JSON_ARRAY ? ']' : '}';
	size_t node = begin_node(p, kind);
	bool is_valid = true;

	if (++p->depth > DEPTH_MAX)
		return false;
	if (!accept(p, close)) {
		do {
			if (kind == JSON_OBJECT)
				is_valid = accept(p, '"') && parse_string(p) && accept(p, ':');
			is_valid = is_valid && parse_value(p);
		} while (is_valid && accept(p, ','));
		is_valid = is_valid && accept(p, close);
	}
	p->depth--;
	return is_valid && end_node(p, node, p->at);
}

static bool parse_value(struct parser *p)
{
	if (accept(p, '{'))
		return parse_items(p, JSON_OBJECT);
	if (accept(p, '['))
		return parse_items(p, JSON_ARRAY);
	if (accept(p, '"'))
		return parse_string(p);
	if (p->at >= p->end)
		return false;
	switch (*p->at) {
	case 'n':
		return parse_word(p, "null", JSON_NULL);
	case 't':
		return parse_word(p, "true", JSON_TRUE);
	case 'f':
		return parse_word(p, "false", JSON_FALSE);
	default:
		return parse_number(p);
	}
}

bool json_parse(struct json *j, const char *text, size_t length)
{
	struct parser p;

	*j = (struct json){.text = text};
	p = (struct parser){j, text, text + length, 0};
	if (!parse_value(&p))
		return false;
	skip_space(&p);
	return p.at == p.end;
}

void json_free(struct json *j)
{
	free(j->nodes);
	*j = (struct json){0};
}

size_t json_first(const struct json *j, size_t node)
{
	if (node >= j->count || j->nodes[node].kind < JSON_ARRAY)
		return JSON_NONE;
	return node + 1 < j->nodes[node].next ? node + 1 : JSON_NONE;
}

size_t json_next(const struct json *j, size_t container, size_t node)
{
	size_t next = j->nodes[node].next;

	return next < j->nodes[container].next ? next : JSON_NONE;
}

size_t json_member(const struct json *j, size_t node, const char *name)
{
	size_t length = strlen(name), at;

	if (node >= j->count || j->nodes[node].kind != JSON_OBJECT)
		return JSON_NONE;
	for (at = json_first(j, node); at != JSON_NONE;) {
		size_t value = json_next(j, node, at);

		if (j->nodes[at].length == length &&
		    memcmp(j->text + j->nodes[at].start, name, length) == 0)
			return value;
		at = json_next(j, node, value);
	}
	return JSON_NONE;
}

uint64_t json_number(const struct json *j, size_t node, uint64_t or_else)
{
	uint64_t n = 0;

	if (node >= j->count || j->nodes[node].kind != JSON_NUMBER)
		return or_else;
	for (size_t i = 0; i < j->nodes[node].length; i++) {
		char c = j->text[j->nodes[node].start + i];

		if (c < '0' || c > '9' || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(c - '0'), &n))
			return or_else;
	}
	return n;
}
