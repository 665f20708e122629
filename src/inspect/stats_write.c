// SPDX-License-Identifier: BSD-3-Clause

/* The forms of the statistics, and their destinations. */

#include <errno.h>

#include "helpers.h"
#include "stats.h"

static void write_form(struct text *t, enum stats_form form)
{
	if (form == STATS_JSON)
		stats_write_json(t);
	else if (form == STATS_FULL)
		stats_write_table(t);
	else
		stats_write_summary(t);
}

void stats_print(enum stats_form form)
{
	struct text t = {.flush = text_print};

	write_form(&t, form);
	text_print(&t);
}

struct file_text {
	struct text text; /* first, for flush_to_file */
	struct sys_file *file;
	int error; /* errno of the first failure, or 0 */
};

static void flush_to_file(struct text *t)
{
	struct file_text *to = (struct file_text *)t;

	if (!to->error && !sys_file_append(to->file, t->at, t->len))
		to->error = errno;
	t->len = 0;
}

bool stats_write_file(struct sys_file *f, enum stats_form form)
{
	struct file_text to = {.text.flush = flush_to_file, .file = f};

	write_form(&to.text, form);
	flush_to_file(&to.text);
	errno = to.error;
	return !to.error;
}
