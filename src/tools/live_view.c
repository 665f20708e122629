// SPDX-License-Identifier: BSD-3-Clause

/*
 * The screen of a running process. From the top: figures with their last minutes as sparklines,
 * what the memory that is held consists of, the sizes with the most live bytes, the largest thread
 * caches, and a line of keys. Every line ends at the width of the terminal. Without UTF-8 the
 * sparklines and bars are ASCII. Colour repeats what words and shapes say.
 */

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "heapview.h"
#include "live.h"

#define LABEL 11 /* columns */
#define VALUE 10
#define RATE 20
#define BAR_MIN 8
#define THREADS_WIDTH 30
#define CLASSES_WIDTH 48

enum style {
	PLAIN,
	BOLD,
	DIM,
	REVERSE,
	WARM,
	COLD,
	GREEN,
	STYLES
};

struct screen {
	char *text;
	size_t length, room;
	int column, columns, row, rows;
	bool has_styles, has_colour, is_utf8;
};

/* ---- Text ---- */

static void put_raw(struct screen *s, const char *text, size_t length)
{
	if (s->length + length > s->room) {
		s->room = 2 * (s->length + length);
		s->text = grow(s->text, s->room, 1);
	}
	memcpy(s->text + s->length, text, length);
	s->length += length;
}

static void set_style(struct screen *s, enum style style)
{
	static const char *const codes[STYLES] = {"\x1b[0m",  "\x1b[1m",  "\x1b[2m", "\x1b[7m",
						  "\x1b[33m", "\x1b[36m", "\x1b[32m"};
	static const char *const words[STYLES] = {"\x1b[0m", "\x1b[1m", "", "\x1b[7m", "", "", ""};
	const char *code = s->has_colour ? codes[style] : words[style];

	if (s->has_styles && s->row < s->rows)
		put_raw(s, code, strlen(code));
}

/* Append text, up to the end of the line and the screen. A character is one column. */
static void put(struct screen *s, const char *text)
{
	for (; *text; text++) {
		bool begins = ((unsigned char)*text & 0xc0) != 0x80;

		if (s->row >= s->rows || (begins && s->column >= s->columns))
			return;
		s->column += begins;
		put_raw(s, text, 1);
	}
}

static void print(struct screen *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct screen *s, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put(s, text);
}

static void put_times(struct screen *s, const char *text, int times)
{
	while (times-- > 0)
		put(s, text);
}

/* Blanks up to a column. */
static void go_to(struct screen *s, int column)
{
	put_times(s, " ", column - s->column);
}

/* End the line. Behind the last column, the sequence would clear that column. */
static void end_line(struct screen *s)
{
	set_style(s, PLAIN);
	if (s->has_styles && s->row < s->rows && s->column < s->columns)
		put_raw(s, "\x1b[K", 3);
	s->column = 0;
	s->row++;
	if (s->row < s->rows)
		put_raw(s, s->has_styles ? "\r\n" : "\n", s->has_styles ? 2 : 1);
}

/* A text of its own, for values. */
struct words {
	char text[48];
};

static struct words bytes_of(uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	double n = (double)bytes;
	struct words w;
	int unit = 0;

	for (; n >= 1000 && unit < 6; unit++)
		n /= 1024;
	if (bytes == UNKNOWN)
		snprintf(w.text, sizeof(w.text), "-");
	else if (unit)
		snprintf(w.text, sizeof(w.text), "%.*f %ciB", n < 100 ? 1 : 0, n, units[unit]);
	else
		snprintf(w.text, sizeof(w.text), "%.0f B", n);
	return w;
}

static struct words count_of(double n)
{
	static const char units[] = " kMG";
	struct words w;
	int unit = 0;

	for (; n >= 10000 && unit < 3; unit++)
		n /= 1000;
	if (unit)
		snprintf(w.text, sizeof(w.text), "%.*f %c", n < 100 ? 1 : 0, n, units[unit]);
	else
		snprintf(w.text, sizeof(w.text), "%.0f", n);
	return w;
}

static struct words rate_of(double rate)
{
	struct words w = {""}, size = bytes_of((uint64_t)(rate < 0 ? -rate : rate));

	snprintf(w.text, sizeof(w.text), "%c%.32s/s", rate < 0 ? '-' : '+', size.text);
	return w;
}

static double share_of(uint64_t part, uint64_t all)
{
	return all && part != UNKNOWN && all != UNKNOWN ? (double)part / (double)all : 0;
}

/* ---- Parts of the screen ---- */

static void put_sparkline(struct screen *s, const struct history *h, enum series k, int width)
{
	static const char *const unicode[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
	const char *const *levels = s->is_utf8 ? unicode : ascii;
	size_t shown = h->count < HISTORY ? h->count : HISTORY;
	uint64_t most = 1;

	if (shown > (size_t)width)
		shown = (size_t)width;
	for (size_t i = h->count - shown; i < h->count; i++)
		if (h->values[k][i % HISTORY] != UNKNOWN && h->values[k][i % HISTORY] > most)
			most = h->values[k][i % HISTORY];
	put_times(s, " ", width - (int)shown);
	for (size_t i = h->count - shown; i < h->count; i++) {
		uint64_t value = h->values[k][i % HISTORY];
		int level = (int)(share_of(value, most) * 7.99);

		put(s, value == UNKNOWN || !value ? " " : levels[level]);
	}
}

static void put_figure(struct screen *s, const struct view *v, enum series k, const char *label,
		       const char *value, const char *rate, enum style style)
{
	int width = s->columns - LABEL - VALUE - RATE - 3;

	print(s, " %-*s", LABEL - 1, label);
	set_style(s, BOLD);
	print(s, "%*s", VALUE, value);
	set_style(s, PLAIN);
	put(s, "  ");
	set_style(s, style);
	if (width >= BAR_MIN)
		put_sparkline(s, v->history, k, width);
	set_style(s, PLAIN);
	print(s, " %s", rate);
	end_line(s);
}

static void put_figures(struct screen *s, const struct view *v)
{
	const struct figures *f = v->figures;
	const double *rates = v->history->rates;
	char peak[64];

	put_figure(s, v, LIVE, "Live", bytes_of(f->live).text, rate_of(rates[LIVE]).text, WARM);
	put_figure(s, v, HELD, "Held", bytes_of(f->held).text, rate_of(rates[HELD]).text, COLD);
	snprintf(peak, sizeof(peak), "peak %s", bytes_of(f->peak_resident).text);
	put_figure(s, v, RESIDENT, "Resident", bytes_of(f->resident).text,
		   f->peak_resident == UNKNOWN ? "" : peak, GREEN);
	if (f->calls == UNKNOWN)
		put_figure(s, v, CALLS, "Calls", "-", "not counted", PLAIN);
	else
		put_figure(s, v, CALLS, "Calls", count_of(rates[CALLS]).text, "per second", PLAIN);
}

/* What is held: live, cached, free and metadata add up to it. */
struct part {
	const char *name, *utf8, *ascii;
	enum style style;
	double share;
};

static void find_parts(struct part parts[4], const struct figures *f)
{
	double rest = 1;

	parts[0] = (struct part){"live", "█", "#", WARM, share_of(f->live, f->held)};
	parts[1] = (struct part){"cached", "▒", "=", COLD, share_of(f->cached, f->held)};
	parts[3] = (struct part){"metadata", "▓", "+", PLAIN, share_of(f->metadata, f->held)};
	parts[2] = (struct part){"free", "░", ".", DIM, 0};
	for (int i = 0; i < 4; i++) {
		if (parts[i].share > rest) /* the figures are of different moments */
			parts[i].share = rest;
		rest -= parts[i].share;
	}
	parts[2].share = rest;
}

static void put_composition(struct screen *s, const struct figures *f)
{
	int width = s->columns - LABEL - 2, at = 0;
	struct part parts[4];
	double sum = 0;

	find_parts(parts, f);
	print(s, " %-*s", LABEL - 1, "Held is");
	for (int i = 0; i < 4; i++) {
		int end = (int)((sum += parts[i].share) * width + 0.5);

		set_style(s, parts[i].style);
		put_times(s, s->is_utf8 ? parts[i].utf8 : parts[i].ascii, end - at);
		at = end;
	}
	end_line(s);
	go_to(s, LABEL);
	for (int i = 0; i < 4; i++)
		print(s, "%s%s %s %.0f %%", i ? "   " : "",
		      s->is_utf8 ? parts[i].utf8 : parts[i].ascii, parts[i].name,
		      100 * parts[i].share);
	end_line(s);
}

static void put_bar(struct screen *s, double share, int width)
{
	static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
	int units = (int)(share * width * 8 + 0.5);

	put_times(s, s->is_utf8 ? "█" : "#", units / 8);
	if (s->is_utf8)
		put(s, eighths[units % 8]);
}

static void put_class(struct screen *s, const struct figures *f, size_t i, int width)
{
	const struct size_class *c = &f->classes[i];

	if (i >= f->class_count)
		return;
	print(s, " %9s %10s %10s %10s ", c->name ? c->name : bytes_of(c->size).text,
	      count_of((double)c->live).text, bytes_of(c->live_bytes).text,
	      c->name ? "" : bytes_of(c->cached_bytes).text);
	set_style(s, WARM);
	put_bar(s, share_of(c->live_bytes, f->classes[0].live_bytes), width - s->column - 2);
	set_style(s, PLAIN);
}

/* Row i of rows; the last one says how many there are below. */
static void put_thread(struct screen *s, const struct figures *f, size_t i, size_t rows)
{
	const struct thread_cache *t = &f->threads[i];

	if (i + 1 == rows && f->thread_count > rows)
		print(s, "%*s and %zu more", THREADS_WIDTH - 14, "", f->thread_count - i);
	else if (i < f->thread_count)
		print(s, "%12lu %7s %9s", (unsigned long)t->id, count_of((double)t->cells).text,
		      bytes_of(t->bytes).text);
}

/* Two tables, side by side if there is room. They have lines rows, with their heads. */
static void put_tables(struct screen *s, const struct figures *f, int lines)
{
	bool has_both = s->columns >= CLASSES_WIDTH + THREADS_WIDTH + 2;
	int left = has_both ? s->columns - THREADS_WIDTH - 1 : s->columns;

	if (lines <= 1)
		return;
	set_style(s, BOLD);
	print(s, " %9s %10s %10s %10s", "Size", "Live", "Bytes", "Cached");
	if (has_both) {
		go_to(s, left);
		print(s, "%12s %7s %9s", "Thread", "Cells", "Cached");
	}
	end_line(s);
	for (int i = 0; i < lines - 1; i++) {
		put_class(s, f, (size_t)i, left);
		if (has_both) {
			go_to(s, left);
			put_thread(s, f, (size_t)i, (size_t)lines - 1);
		}
		end_line(s);
	}
}

static void put_title(struct screen *s, const struct view *v)
{
	const struct figures *f = v->figures;
	char clock[32] = "";
	time_t now = time(NULL);
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S ", &tm);
	set_style(s, REVERSE);
	put(s, " ");
	if (*f->program)
		print(s, "%s  ", f->program);
	if (f->pid != UNKNOWN)
		print(s, "process %lu  ", (unsigned long)f->pid);
	put(s, v->path);
	go_to(s, s->columns - (int)strlen(clock));
	put(s, clock);
	end_line(s);
}

static void put_keys(struct screen *s)
{
	static const char *const keys[][2] = {{"t", "trim"},
					      {"s", "sample"},
					      {"p", "save a profile"},
					      {"m", "save a map"},
					      {"q", "quit"}};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		put(s, " ");
		set_style(s, REVERSE);
		print(s, " %s ", keys[i][0]);
		set_style(s, PLAIN);
		print(s, " %s ", keys[i][1]);
	}
}

static void flush(struct screen *s)
{
	terminal_write(s->text, s->length);
	free(s->text);
}

void view_draw(const struct view *v, const struct terminal *t)
{
	struct screen s = {
		.columns = t->columns,
		.rows = t->rows,
		.has_styles = true,
		.has_colour = t->has_colour,
		.is_utf8 = t->is_utf8,
	};

	put_raw(&s, "\x1b[H", 3);
	put_title(&s, v);
	end_line(&s);
	put_figures(&s, v);
	end_line(&s);
	put_composition(&s, v->figures);
	end_line(&s);
	put_tables(&s, v->figures, s.rows - s.row - 3);
	while (s.row < s.rows - 2)
		end_line(&s);
	print(&s, " %s", v->message);
	end_line(&s);
	put_keys(&s);
	end_line(&s);
	flush(&s);
}

void view_print(const struct view *v, const struct terminal *t)
{
	const struct figures *f = v->figures;
	struct screen s = {.columns = 80, .rows = 1 << 20, .is_utf8 = t->is_utf8};
	size_t rows = f->class_count > f->thread_count ? f->class_count : f->thread_count;

	put_title(&s, v);
	print(&s, " Live      %10s", bytes_of(f->live).text);
	end_line(&s);
	print(&s, " Held      %10s", bytes_of(f->held).text);
	end_line(&s);
	print(&s, " Resident  %10s, peak %s", bytes_of(f->resident).text,
	      bytes_of(f->peak_resident).text);
	end_line(&s);
	put_composition(&s, f);
	put_tables(&s, f, 1 + (int)(rows < 20 ? rows : 20));
	flush(&s);
}

void view_print_line(const struct view *v)
{
	const struct figures *f = v->figures;
	struct screen s = {.columns = 1 << 20, .rows = 1 << 20};

	print(&s, "live %s (%s), held %s, resident %s, peak %s", bytes_of(f->live).text,
	      rate_of(v->history->rates[LIVE]).text, bytes_of(f->held).text,
	      bytes_of(f->resident).text, bytes_of(f->peak_resident).text);
	end_line(&s);
	flush(&s);
}
