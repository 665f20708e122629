// SPDX-License-Identifier: BSD-3-Clause

/*
 * The file of a profile: it is written under another name and then renamed. If that is not allowed
 * any more, the option's file, which stays open, is written over.
 */

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>

#include "helpers.h"
#include "printf.h"
#include "profile.h"
#include "sample.h"

/* Of OSMEM_OPTIONS=profile. */
static struct sys_file *owned; /* in mapped memory; its path is empty if there is none */
static _Atomic(uint32_t) is_busy; /* a thread writes to it */

/* Both paths are too long for a small stack. */
struct names {
	struct sys_file file;
	char temporary[PATH_MAX];
};

static bool append(void *file, const void *data, size_t len)
{
	return sys_file_append(file, data, len);
}

/* Readers may see a part. */
static bool write_in_place(struct sys_file *f, const char *path)
{
	return sys_file_open(f, path) && profile_stream(append, f);
}

/* The file stays open. Threads that write at the same time have different temporary files. */
static bool write_and_rename(struct names *names, const char *path)
{
	static _Atomic(unsigned int) count;
	int error;

	errno = ENAMETOOLONG;
	if (snprintf_(names->temporary, PATH_MAX, "%s.%u.%u", path, (unsigned int)sys_process(),
		      atomic_fetch_add(&count, 1)) >= PATH_MAX ||
	    !sys_file_open(&names->file, names->temporary))
		return false;
	if (profile_stream(append, &names->file) && sys_file_replace(&names->file, path))
		return true;
	error = errno;
	sys_file_remove(&names->file);
	errno = error;
	return false;
}

/* The file stays open, unless it cannot be written to. */
static bool write_to(struct names *names, const char *path)
{
	return sys_file_is_replaceable(path) ? write_and_rename(names, path)
					     : write_in_place(&names->file, path);
}

/* Write a profile to path. file, if not NULL, becomes what was written, which stays locked. */
static bool write_file(const char *path, struct sys_file *file)
{
	struct names *names = sys_map(sizeof(*names));
	bool is_written;
	int error;

	if (!names)
		return false;
	is_written = write_to(names, path);
	error = errno;
	if (!file)
		sys_file_close(&names->file);
	else if (sys_file_is_open(&names->file))
		sys_file_become(file, &names->file);
	sys_release(names, sizeof(*names));
	errno = error;
	return is_written;
}

bool profile_write(const char *path)
{
	struct sample_stats stats;

	sample_get_stats(&stats);
	errno = EINVAL;
	return stats.interval && write_file(path, NULL);
}

/* ---- The file of the option ---- */

const char *profile_path(void)
{
	return owned ? owned->path : "";
}

bool profile_own(const char *path)
{
	if (!owned)
		owned = sys_map(sizeof(*owned));
	if (!owned)
		return false;
	if (sys_file_own(owned, path))
		return true;
	owned->path[0] = '\0';
	return false;
}

/* The program has changed its root or its user since the start, but the file is open. */
static bool is_out_of_reach(int error)
{
	return error == EACCES || error == EPERM || error == ENOENT || error == EROFS;
}

static bool update(void)
{
	if (!sys_file_is_replaceable(owned->path))
		sys_file_close(owned);
	/* What replaces the file is locked before the lock of the old one goes. */
	if (write_file(owned->path, owned))
		return true;
	if (!is_out_of_reach(errno) || !sys_file_is_open(owned))
		return false;
	sys_file_rewind(owned);
	return profile_stream(append, owned);
}

bool profile_update(bool waits)
{
	uint64_t end = sys_now_ms() + 1000;
	bool is_written;

	if (!*profile_path())
		return true;
	while (atomic_exchange(&is_busy, 1)) {
		if (!waits || sys_now_ms() >= end)
			return true;
		sys_sleep_on(&is_busy, 1, 10000000);
	}
	is_written = update();
	atomic_store(&is_busy, 0);
	sys_wake_one(&is_busy);
	return is_written;
}

void profile_abandon(void)
{
	if (owned) {
		sys_file_close(owned);
		owned->path[0] = '\0';
	}
	atomic_store(&is_busy, 0);
}
