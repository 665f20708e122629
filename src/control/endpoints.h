/* SPDX-License-Identifier: BSD-3-Clause */

/* What the service answers. Only its thread calls this; nothing calls malloc. */

#pragma once

#include "body.h"
#include "request.h"

struct reply {
	const struct request *request; /* that it answers; NULL for endpoint_say only */
	unsigned int status; /* of HTTP */
	const char *type; /* of the body */
	const char *allow; /* methods, if the request had another */
	struct body body;
};

/* Answer the request. The caller drops the body. */
void endpoint_answer(struct reply *reply);

/* Answer with one line, which of an error says what is wrong. */
void endpoint_say(struct reply *reply, unsigned int status, const char *line);

/* metrics.c: append all figures in the text format of Prometheus. */
void metrics_write(struct text *t);
