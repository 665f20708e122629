// SPDX-License-Identifier: BSD-3-Clause

/* What the pages share: the style, the place of their data, and texts in it. */

#include <string.h>

#include "heapview.h"

#define STYLE "/*STYLE*/"
#define DATA "/*DATA*/"

extern const char style_css[];

__asm__(".pushsection .rodata\n"
	"style_css: .incbin \"style.css\"\n"
	".byte 0\n"
	".popsection");

const char *template_begin(FILE *out, const char *page)
{
	const char *style = strstr(page, STYLE), *data = strstr(page, DATA);

	fwrite(page, 1, (size_t)(style - page), out);
	fputs(style_css, out);
	style += strlen(STYLE);
	fwrite(style, 1, (size_t)(data - style), out);
	return data + strlen(DATA);
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
