// SPDX-License-Identifier: BSD-3-Clause

/*
 * Names for readers. C++ names are demangled by the C++ runtime, if it is installed. heapview is
 * not linked with it.
 */

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "heapview.h"
#include "profile.h"

#define ARGUMENT_MAX 24 /* of a template, in a short name */

typedef char *demangler(const char *name, char *buffer, size_t *size, int *status);

static demangler *find_demangler(void)
{
	static const char *const libraries[] = {"libstdc++.so.6", "libc++abi.so.1"};
	static demangler *found;
	static bool is_searched;

	for (size_t i = 0; !is_searched && !found && i < 2; i++) {
		void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_LOCAL);
		void *symbol = library ? dlsym(library, "__cxa_demangle") : NULL;

		memcpy(&found, &symbol, sizeof(found));
	}
	is_searched = true;
	return found;
}

static char *copy_of(const char *text, size_t length)
{
	char *copy = strndup(text, length);

	if (!copy)
		die("out of memory");
	return copy;
}

/* The length without the suffixes of compilers: a part of a function counts as the function. */
static size_t without_suffix(const char *name)
{
	static const char *const suffixes[] = {".cold",	      ".part.",	    ".isra.",
					       ".constprop.", ".lto_priv.", ".llvm."};
	size_t length = strlen(name);

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		const char *suffix = strstr(name, suffixes[i]);

		if (suffix && suffix > name && (size_t)(suffix - name) < length)
			length = (size_t)(suffix - name);
	}
	return length;
}

/* Rust ends its names with "::h" and a hash of 16 digits. */
static void cut_hash(char *name)
{
	size_t length = strlen(name);
	char *hash = length > 19 ? name + length - 19 : NULL;

	if (hash && strncmp(hash, "::h", 3) == 0 && strspn(hash + 3, "0123456789abcdef") == 16)
		*hash = '\0';
}

char *demangle(const char *name)
{
	char *plain = copy_of(name, without_suffix(name)), *better = NULL;
	demangler *function = strncmp(plain, "_Z", 2) == 0 ? find_demangler() : NULL;
	int status = -1;

	if (function)
		better = function(plain, NULL, NULL, &status);
	if (status != 0 || !better) {
		free(better);
		return plain;
	}
	free(plain);
	cut_hash(better);
	return better;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '$';
}

/* The length of an operator's name at p, such as "operator<<", or 0. */
static size_t operator_length(const char *start, const char *p)
{
	static const char word[] = "operator";
	const char *end = p + sizeof(word) - 1;

	if (strncmp(p, word, sizeof(word) - 1) != 0 || (p > start && is_word(p[-1])) ||
	    is_word(*end))
		return 0;
	if (strncmp(end, "()", 2) == 0)
		return (size_t)(end - p) + 2;
	return (size_t)(end - p) + strspn(end, "<>=-+*/!&|^%~,[]");
}

/* Behind the bracket that closes the one at p; at the end of an unbalanced text. */
static const char *behind(const char *p, char open, char close)
{
	size_t depth = 0;

	do {
		if (*p == open)
			depth++;
		else if (*p == close && (p[-1] != '-' || close != '>'))
			depth--;
		p++;
	} while (depth && *p);
	return p;
}

/* The length of the first template argument, or 0 if it is long or has arguments itself. */
static size_t argument_length(const char *p)
{
	size_t length = strcspn(p, ",<>()");

	return length <= ARGUMENT_MAX && (p[length] == ',' || p[length] == '>') ? length : 0;
}

/* A parenthesis in a name: "(anonymous namespace)::f", and Go's "main.(*T).f". */
static bool is_name(const char *p, const char *start)
{
	return p == start || p[-1] == '.' || strncmp(p, "(anonymous", 10) == 0;
}

/* Where the name begins behind a result type: behind the last space outside of brackets. */
static const char *behind_type(const char *brief, const char *end)
{
	size_t depth = 0;

	for (const char *p = end; p > brief; p--) {
		depth += strchr(")}>]", p[-1]) != NULL;
		depth -= strchr("({<[", p[-1]) && depth;
		if (p[-1] == ' ' && !depth)
			return p;
	}
	return brief;
}

char *shorten(const char *name)
{
	char *brief = copy_of(name, strlen(name)), *out = brief, *end = NULL;
	size_t braces = 0;
	bool has_parameters = false;

	for (const char *p = name; *p;) {
		size_t length = operator_length(name, p);

		if (length) {
			end = end || braces ? end : out;
			memcpy(out, p, length);
			out += length;
			p += length;
		} else if (*p == '<' && p > name && is_word(p[-1])) {
			*out++ = '<';
			length = argument_length(p + 1);
			memcpy(out, p + 1, length);
			out += length;
			*out++ = '>';
			p = behind(p, '<', '>');
		} else if (*p == '(' && !braces && !is_name(p, name)) {
			p = behind(p, '(', ')');
			has_parameters = true;
			/* What follows is part of the name only in a scope: "f(int)::local". */
			if (strncmp(p, "::", 2) != 0)
				p = strstr(p, "::{") ? strstr(p, "::{") : p + strlen(p);
		} else {
			braces += *p == '{';
			braces -= *p == '}' && braces;
			*out++ = *p++;
		}
	}
	*out = '\0';
	if (has_parameters) {
		const char *begin = behind_type(brief, end ? end : out);

		memmove(brief, begin, strlen(begin) + 1);
	}
	return brief;
}
