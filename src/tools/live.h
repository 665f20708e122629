/* SPDX-License-Identifier: BSD-3-Clause */

#pragma once

/* Show the process behind a socket until it ends or the user quits. Returns the exit status. */
int live_run(const char *path);
/* Give the terminal back as it was, if it was changed. */
void live_restore(void);
