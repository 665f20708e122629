/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The heap profile: what has been sampled, as a file for pprof and other readers of profile.proto,
 * uncompressed.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Give a profile to write, in pieces of up to 16 KiB. write returns false with errno. False with
 * errno: that of write, or ENOMEM. Any thread may call it at any time.
 */
bool profile_stream(bool (*write)(void *arg, const void *data, size_t len), void *arg);

/*
 * Write a profile to path. A file is replaced when the profile is complete: readers see the old
 * content or the new one. A path that is no regular file, but a link, pipe or device, is written to
 * as it is. False with errno; then the file is as it was. It is EINVAL if nothing was ever sampled.
 */
bool profile_write(const char *path);

/*
 * The file of OSMEM_OPTIONS=profile, which one process owns. profile_own: false with errno,
 * EWOULDBLOCK if another does. profile_update writes it, if it is owned; false with errno. If
 * another thread is doing so, it returns true at once, or waits for a second at most.
 * profile_abandon is for a forked child.
 */
bool profile_own(const char *path);
bool profile_update(bool waits);
void profile_abandon(void);

/* Its absolute path; empty if there is none. */
const char *profile_path(void);
