// SPDX-License-Identifier: BSD-3-Clause

/*
 * The pages, and the place of their data. Their parts are in page/ and become part of the program:
 * a line @NAME@ in a part is replaced by the part of that name, and @DATA@ by the data.
 */

#include <string.h>

#include "heapview.h"

/* The bytes of page/FILE, null-terminated. */
#define PART(name, file)                                                                           \
	extern const char part_##name[];                                                           \
	__asm__(".pushsection .rodata\n"                                                           \
		"part_" #name ": .incbin \"page/" file "\"\n"                                      \
		".byte 0\n"                                                                        \
		".popsection")

PART(heapview_html, "heapview.html");
PART(profile_html, "profile.html");
PART(rules_html, "rules.html");
PART(palette_css, "palette.css");
PART(style_css, "style.css");
PART(heapview_css, "heapview.css");
PART(profile_css, "profile.css");
PART(common_js, "common.js");
PART(list_js, "list.js");
PART(words_js, "words.js");
PART(draw_js, "draw.js");
PART(calls_js, "calls.js");
PART(player_js, "player.js");
PART(charts_js, "charts.js");
PART(map_js, "map.js");
PART(start_js, "start.js");
PART(profile_js, "profile.js");

static const struct {
	const char *name, *text;
} parts[] = {
	{"heapview.html", part_heapview_html},
	{"profile.html", part_profile_html},
	{"rules.html", part_rules_html},
	{"palette.css", part_palette_css},
	{"style.css", part_style_css},
	{"heapview.css", part_heapview_css},
	{"profile.css", part_profile_css},
	{"common.js", part_common_js},
	{"list.js", part_list_js},
	{"words.js", part_words_js},
	{"draw.js", part_draw_js},
	{"calls.js", part_calls_js},
	{"player.js", part_player_js},
	{"charts.js", part_charts_js},
	{"map.js", part_map_js},
	{"start.js", part_start_js},
	{"profile.js", part_profile_js},
};

const char *template_part(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (strlen(parts[i].name) == length && memcmp(parts[i].name, name, length) == 0)
			return parts[i].text;
	return NULL;
}

/* The next line that is a mark, or NULL. *name and *length are without its signs. */
static const char *find_mark(const char *text, const char **name, size_t *length)
{
	for (const char *mark = strstr(text, "\n@"); mark; mark = strstr(mark + 1, "\n@")) {
		const char *end = strchr(mark + 2, '\n');

		if (!end || end[-1] != '@')
			continue;
		*name = mark + 2;
		*length = (size_t)(end - mark) - 3;
		return mark + 1;
	}
	return NULL;
}

/* Write text up to the place of the data, if it has one. Returns the rest, or NULL. */
static const char *write_text(FILE *out, const char *text)
{
	const char *name, *mark;
	size_t length;

	while ((mark = find_mark(text, &name, &length))) {
		const char *part = template_part(name, length);

		fwrite(text, 1, (size_t)(mark - text), out);
		text = name + length + 1;
		if (!part)
			return text;
		write_text(out, part);
	}
	fputs(text, out);
	return NULL;
}

const char *template_begin(FILE *out, const char *page)
{
	return write_text(out, template_part(page, strlen(page)));
}

void template_end(FILE *out, const char *rest)
{
	write_text(out, rest);
}

/* The bytes of the UTF-8 character at text, or 0 if there is none. */
static size_t character(const unsigned char *text, size_t max)
{
	size_t length = *text < 0x80	? 1
			: *text >= 0xf0 ? 4
			: *text >= 0xe0 ? 3
			: *text >= 0xc2 ? 2
					: 0;

	if (!length || length > max || *text > 0xf4)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

void write_quoted(FILE *out, const char *text, size_t max)
{
	fputc('"', out);
	for (size_t i = 0; i < max && text[i];) {
		unsigned char c = (unsigned char)text[i];
		size_t length = character((const unsigned char *)text + i, max - i);

		if (!length)
			fputs("\\ufffd", out);
		else if (strchr("\\\"<>&", c) || c < ' ' || c == 127)
			fprintf(out, "\\u%04x", c);
		else
			fwrite(text + i, 1, length, out);
		i += length ? length : 1;
	}
	fputc('"', out);
}
