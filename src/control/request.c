// SPDX-License-Identifier: BSD-3-Clause

#include "request.h"

#include <string.h>

static struct word word_of(const char *from, const char *to)
{
	return (struct word){.at = from, .len = (size_t)(to - from)};
}

/* Take the next line of *text without its end. at is NULL if its end is missing. */
static struct word next_line(struct word *text)
{
	const char *end = text->len ? memchr(text->at, '\n', text->len) : NULL;
	struct word line = {0};

	if (!end)
		return line;
	line = word_of(text->at, end);
	*text = word_of(end + 1, text->at + text->len);
	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	return line;
}

/* Split *word at its first c, which neither part has. Without c, the rest has no address. */
static struct word split(struct word *word, char c)
{
	const char *at = word->len ? memchr(word->at, c, word->len) : NULL;
	struct word rest = {0};

	if (!at)
		return rest;
	rest = word_of(at + 1, word->at + word->len);
	*word = word_of(word->at, at);
	return rest;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* In any case. */
static bool starts_with(struct word word, const char *text)
{
	size_t i = 0;

	while (i < word.len && text[i] && lower(word.at[i]) == lower(text[i]))
		i++;
	return !text[i];
}

static enum method method_of(struct word name)
{
	if (word_is(name, "GET"))
		return METHOD_GET;
	if (word_is(name, "HEAD"))
		return METHOD_HEAD;
	return word_is(name, "POST") ? METHOD_POST : METHOD_OTHER;
}

static bool is_printable(struct word word)
{
	for (size_t i = 0; i < word.len; i++)
		if (word.at[i] <= ' ' || word.at[i] == 0x7f)
			return false;
	return word.len > 0;
}

/* METHOD TARGET VERSION. The target is a path, or a URL of which the path counts. */
static bool parse_first_line(struct request *r, struct word line)
{
	struct word method = line, target = split(&method, ' '), version = split(&target, ' ');

	if (!target.at || !is_printable(method) || !is_printable(target) ||
	    !starts_with(version, "HTTP/"))
		return false;
	if (starts_with(target, "http://")) {
		struct word host = {.at = target.at + 7, .len = target.len - 7};

		target = split(&host, '/');
		target = target.at ? word_of(host.at + host.len, target.at + target.len)
				   : (struct word){.at = "/", .len = 1};
	}
	r->method = method_of(method);
	r->query = split(&target, '?');
	r->path = target;
	return *target.at == '/';
}

static struct word skip_blanks(struct word text)
{
	for (; text.len && *text.at == ' '; text.at++)
		text.len--;
	return text;
}

/* A decimal number with blanks around it. */
static bool parse_length(struct word text, size_t *length)
{
	text = skip_blanks(text);
	return word_take_number(&text, length) && !skip_blanks(text).len;
}

/* Parse a header. Only the length of the body matters. */
static bool parse_header(struct word line, size_t *length)
{
	struct word name = line, value = split(&name, ':');

	if (!value.at || !is_printable(name) || starts_with(name, "transfer-encoding"))
		return false;
	return name.len != strlen("content-length") || !starts_with(name, "content-length") ||
	       parse_length(value, length);
}

enum request_state request_parse(struct request *r, const char *text, size_t len, size_t room)
{
	struct word rest = {.at = text, .len = len}, line = next_line(&rest);
	size_t length = 0;

	*r = (struct request){0};
	if (!line.at)
		return len < room ? REQUEST_INCOMPLETE : REQUEST_TOO_LARGE;
	if (!parse_first_line(r, line))
		return REQUEST_MALFORMED;
	while ((line = next_line(&rest)).at && line.len)
		if (!parse_header(line, &length))
			return REQUEST_MALFORMED;
	if (!line.at)
		return len < room ? REQUEST_INCOMPLETE : REQUEST_TOO_LARGE;
	if (length > room - (size_t)(rest.at - text))
		return REQUEST_TOO_LARGE;
	r->body = (struct word){.at = rest.at, .len = length};
	return rest.len < length ? REQUEST_INCOMPLETE : REQUEST_COMPLETE;
}

/* ---- Values ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether %XX is at position i. */
static bool is_escape(struct word word, size_t i)
{
	return word.at[i] == '%' && i + 2 < word.len && hex_digit(word.at[i + 1]) >= 0 &&
	       hex_digit(word.at[i + 2]) >= 0;
}

static void decode(struct word word, char *to, size_t size)
{
	size_t n = 0;

	*to = '\0';
	for (size_t i = 0; i < word.len; i++) {
		char c = word.at[i];

		if (is_escape(word, i)) {
			c = (char)(hex_digit(word.at[i + 1]) << 4 | hex_digit(word.at[i + 2]));
			i += 2;
		}
		if (!c || n + 1 >= size) {
			*to = '\0';
			return;
		}
		to[n++] = c;
	}
	to[n] = '\0';
}

static bool find_value(struct word list, const char *name, char *value, size_t size)
{
	while (list.at) {
		struct word rest = split(&list, '&'), found = split(&list, '=');

		if (found.at && word_is(list, name)) {
			decode(found, value, size);
			return true;
		}
		list = rest;
	}
	return false;
}

bool request_value(const struct request *r, const char *name, char *value, size_t size)
{
	return find_value(r->query, name, value, size) || find_value(r->body, name, value, size);
}
