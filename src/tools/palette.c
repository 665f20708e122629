// SPDX-License-Identifier: BSD-3-Clause

/* The palette of pages, page/palette.css, in pictures: many readers of SVG know no variables. */

#include <string.h>

#include "heapview.h"

#define VARIABLE "var(--"

/* Write the value that css gives to the name, from its first definition on. */
static void write_value(FILE *out, const char *css, const char *name, size_t length)
{
	for (const char *at = css; (at = strstr(at, "--")); at += 2) {
		const char *value = at + 2 + length + 2, *end = strchr(at, ';');

		if (memcmp(at + 2, name, length) == 0 && at[2 + length] == ':' && end)
			fwrite(value, 1, (size_t)(end - value), out);
		if (memcmp(at + 2, name, length) == 0 && at[2 + length] == ':')
			return;
	}
}

static void write_rules(FILE *out, const char *css, const char *rules)
{
	const char *at;

	while ((at = strstr(rules, VARIABLE))) {
		const char *name = at + strlen(VARIABLE), *end = strchr(name, ')');

		fwrite(rules, 1, (size_t)(at - rules), out);
		write_value(out, css, name, (size_t)(end - name));
		rules = end + 1;
	}
	fputs(rules, out);
}

void palette_write(FILE *out, const char *rules)
{
	const char *css = template_part("palette.css", strlen("palette.css"));

	write_rules(out, css, rules);
	fputs("@media (prefers-color-scheme:dark){\n", out);
	write_rules(out, strstr(css, "@media"), rules);
	fputs("}\n", out);
}
