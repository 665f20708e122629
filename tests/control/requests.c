// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Requests of the service: parsing, of any bytes that a client sends. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "control/request.h"
#include "harness.h"

#define ROOM 256

static enum request_state parse(struct request *r, const char *text)
{
	return request_parse(r, text, strlen(text), ROOM);
}

static bool is_same(struct word word, const char *text)
{
	return word.len == strlen(text) && memcmp(word.at, text, word.len) == 0;
}

TEST(parts_are_found)
{
	struct request r;
	char value[16];

	CHECK(parse(&r, "POST http://host:1/a/b?x=1&file=%2Ftmp%2f%p HTTP/1.1\r\nA: b\r\n"
			"content-LENGTH:  3 \r\n\r\nabcd") == REQUEST_COMPLETE);
	CHECK(r.method == METHOD_POST && is_same(r.path, "/a/b") && is_same(r.body, "abc"));
	CHECK(request_value(&r, "file", value, sizeof(value)) && !strcmp(value, "/tmp/%p"));
	CHECK(request_value(&r, "x", value, sizeof(value)) && !strcmp(value, "1"));
	CHECK(!request_value(&r, "fil", value, sizeof(value)));
	CHECK(!request_value(&r, "abc", value, sizeof(value)));
}

TEST(values_may_be_in_the_body)
{
	struct request r;
	char value[8];

	CHECK(parse(&r, "POST /a HTTP/1.0\nContent-Length: 13\n\nfile=%25p&b=c") ==
	      REQUEST_COMPLETE);
	CHECK(request_value(&r, "file", value, sizeof(value)) && !strcmp(value, "%p"));
	CHECK(request_value(&r, "b", value, sizeof(value)) && !strcmp(value, "c"));
}

TEST(invalid_values_are_empty)
{
	struct request r;
	char value[4];

	CHECK(parse(&r, "GET /?a=1234&b=%00&c=&d=123&e=%41%4&f HTTP/1.0\n\n") == REQUEST_COMPLETE);
	CHECK(request_value(&r, "a", value, sizeof(value)) && !*value);
	CHECK(request_value(&r, "b", value, sizeof(value)) && !*value);
	CHECK(request_value(&r, "c", value, sizeof(value)) && !*value);
	CHECK(request_value(&r, "d", value, sizeof(value)) && !strcmp(value, "123"));
	CHECK(request_value(&r, "e", value, sizeof(value)) && !strcmp(value, "A%4"));
	CHECK(!request_value(&r, "f", value, sizeof(value)));
}

/* Each beginning of a request is incomplete, whatever is behind it in memory. */
TEST(beginnings_are_incomplete)
{
	static const char text[] = "POST /trim HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\nab";
	struct request r;

	for (size_t n = 0; n < strlen(text); n++)
		CHECK_MSG(request_parse(&r, text, n, ROOM) == REQUEST_INCOMPLETE, "%zu bytes", n);
	CHECK(request_parse(&r, text, strlen(text), ROOM) == REQUEST_COMPLETE);
}

TEST(what_does_not_fit_is_refused)
{
	struct request r;
	char text[ROOM];

	memset(text, 'a', sizeof(text));
	CHECK(request_parse(&r, text, sizeof(text) - 1, ROOM) == REQUEST_INCOMPLETE);
	CHECK(request_parse(&r, text, sizeof(text), ROOM) == REQUEST_TOO_LARGE);
	snprintf(text, sizeof(text), "GET / HTTP/1.0\r\nContent-Length: %d\r\n\r\n", ROOM);
	CHECK(parse(&r, text) == REQUEST_TOO_LARGE);
	snprintf(text, sizeof(text), "GET / HTTP/1.0\r\nContent-Length: %zu\r\n\r\n", SIZE_MAX);
	CHECK(parse(&r, text) == REQUEST_TOO_LARGE);
}

static uint32_t next(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return *random >> 8;
}

/* Each in memory of its own size, so that a read beyond it would be seen by a sanitizer. */
TEST(random_changes_do_no_harm)
{
	static const char text[] =
		"POST http://x/a?b=%41&c HTTP/1.0\r\nA:b\r\nContent-Length: 3\r\n\r\nx=1";
	static const char bytes[] = "\r\n :?&=%/\0\x7f\xff"
				    "0aAH";
	size_t states[4] = {0};
	uint32_t random = 1;

	for (int i = 0; i < 200000; i++) {
		size_t len = 1 + next(&random) % strlen(text);
		char *copy = malloc(len), value[8];
		struct request r;
		enum request_state state;

		memcpy(copy, text, len);
		for (uint32_t n = next(&random) % 4; n > 0; n--)
			copy[next(&random) % len] = bytes[next(&random) % (sizeof(bytes) - 1)];
		state = request_parse(&r, copy, len, ROOM);
		states[state]++;
		if (state == REQUEST_COMPLETE) {
			CHECK(is_same(r.path, "/") ||
			      (r.path.at >= copy && r.path.at + r.path.len <= copy + len));
			CHECK(r.body.at >= copy && r.body.at + r.body.len <= copy + len);
			request_value(&r, "b", value, sizeof(value));
			request_value(&r, "x", value, sizeof(value));
		}
		free(copy);
	}
	CHECK(states[REQUEST_COMPLETE] > 100 && states[REQUEST_INCOMPLETE] > 1000 &&
	      states[REQUEST_MALFORMED] > 1000);
}
