// SPDX-License-Identifier: BSD-3-Clause

/* The figures and answers that heapview --live reads, for libFuzzer. */

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "tools/live.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct figures before, figures;
	static struct history history;
	struct request r = {.length = size, .room = size};
	unsigned int status;
	size_t length;

	/* The input has no room behind it, so that a read there is noticed. */
	r.answer = malloc(size ? size : 1);
	if (size)
		memcpy(r.answer, data, size);
	if (request_body(&r, &length, &status) && length > size)
		abort();
	if (figures_read(&figures, r.answer, size))
		history_add(&history, &before, &figures);
	if (figures.class_count > CLASSES_MAX || figures.thread_count > THREADS_MAX)
		abort();
	before = figures;
	free(r.answer);
	return 0;
}
