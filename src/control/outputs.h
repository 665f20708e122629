/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The files that options name: traces, maps, profiles, statistics. options.c sets the names and
 * calls outputs_begin, outputs_fork_child and outputs_end. The service thread calls the functions
 * that say so.
 *
 * A name may contain %p, the process id. Without %p, the first process that opens the file owns it
 * until it ends.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "words.h"

#define OUTPUTS_NAME 1024 /* the size of a name that the service gets, with its null */

/* From the options. */
struct outputs {
	struct word trace, map, stats_file, profile; /* file names, or empty */
	size_t trace_size;
	size_t profile_interval, profile_growth; /* profile_growth: 0 is off */
	size_t stats; /* OUTPUTS_OFF, or enum stats_form; on standard error, unless stats_file */
};

#define OUTPUTS_OFF SIZE_MAX

extern struct outputs outputs;

/* Open all files and start the trace. */
void outputs_begin(void);

/* In a forked child of process parent: leave the files to it, or open others. */
void outputs_fork_child(unsigned int parent);

/* At exit: write everything. */
void outputs_end(void);

/* Write everything that is on, while the program runs. In the service thread. */
void outputs_write(void);

/*
 * In the service thread: start a trace in file, an absolute name; if it is empty, in that of the
 * option or of the last call. Returns 0, or an error: EALREADY if a trace is on, EINVAL if there is
 * no name, EWOULDBLOCK if another process writes the file or it has an earlier trace of this one,
 * and those of open(2).
 */
int outputs_start_trace(const char *file);

/* In the service thread: stop the trace. False if none is on. */
bool outputs_stop_trace(void);

/* In the service thread: take samples, or no more. False: it is so already. */
bool outputs_start_profile(void);
bool outputs_stop_profile(void);

/* Whether a file is named that a forked child must not share. */
bool outputs_have_files(void);

/* Write name to path (PATH_MAX bytes), with %p replaced. False with errno if it is too long. */
bool outputs_expand_name(char *path, struct word name);

bool outputs_are_for_each_process(struct word name);

/* Report errno in one line, unless it says that another process owns the file. */
void outputs_complain(const char *option, const char *path);
