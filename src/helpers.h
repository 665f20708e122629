/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * All system calls. If the kernel refuses memory, functions return NULL or -1 with errno ENOMEM.
 * Sizes are in bytes.
 */

#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch.h"

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)
#define EXPORT __attribute__((visibility("default")))
/* For a large table: the linker places it behind the small variables, which then share pages. */
#define APART __attribute__((common))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define SYS_MAP_MAX ARCH_MAP_MAX

/* Priorities of constructors, from the bottom wing up; fork handlers have the same order. */
#define SYS_BEGIN_BLOCK 101
#define SYS_BEGIN_CACHE 102
#define SYS_BEGIN_OPTIONS 103

/* The next multiple of to, a power of two. */
static inline __attribute__((always_inline)) size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* OSMEM_OPTIONS, or NULL. NULL in a privileged program. */
const char *sys_options(void);

/* The page size; 4096 if the kernel does not tell. */
size_t sys_page_size(void) __attribute__((pure));

/* The current program break, as libc knows it, or NULL. */
char *sys_break(void);

/* Raise the break by size. Returns the old break, or NULL. */
char *sys_raise_break(size_t size);

/*
 * Whether the kernel shall use transparent huge pages for what sys_map and its relatives map from
 * now on, if its own setting allows it. False with errno: it knows no such advice.
 */
enum sys_huge_pages {
	SYS_HUGE_DEFAULT, /* as its setting says */
	SYS_HUGE_ALWAYS,
	SYS_HUGE_NEVER,
};

bool sys_set_huge_pages(enum sys_huge_pages wanted);
bool sys_wants_huge_pages(void); /* SYS_HUGE_ALWAYS */

/* The same for memory that has been mapped before; p may be NULL. Preserves errno. */
void sys_advise_pages(void *p, size_t size);

/* Fresh zeroed private memory at a page boundary, or NULL. */
void *sys_map(size_t size);

/* As sys_map, at exactly this address. NULL with errno EEXIST (something is mapped) or ENOMEM. */
void *sys_map_at(void *at, size_t size);

/* As sys_map, at a multiple of align, a power of two. Unmaps what it maps in excess. */
void *sys_map_aligned(size_t size, size_t align);

/* Unmap. -1 if the kernel refuses, which it may if a mapping would be split into two. */
int sys_unmap(void *p, size_t size);

/*
 * Unmap; size need not be a multiple of the page size. If the kernel refuses, purge the pages and
 * put the mapping on a list for sys_release_rest. Preserves errno.
 */
void sys_release(void *p, size_t size);

/*
 * Retry the list of sys_release. True if any mapping was released. The caller holds a lock that
 * fork takes, because the list is incomplete during the call.
 */
bool sys_release_rest(void);

/* Resize or move a mapping. Returns the new address, or NULL and leaves the mapping as it was. */
void *sys_remap(void *p, size_t old_size, size_t new_size);

/*
 * Move pages to addresses that the caller owns, and replace new_size bytes of mappings there. -1:
 * nothing has changed. If the sizes are equal, empty pages remain at p, which kernels before 5.7 do
 * not support. Otherwise nothing remains mapped there.
 */
int sys_move(void *p, size_t old_size, void *to, size_t new_size);

/* Make pages inaccessible. -1 if the kernel has reached its limit of mappings. */
int sys_protect(void *p, size_t size);

/* Make pages accessible. -1 if the kernel has reached its limit of mappings or of memory. */
int sys_unprotect(void *p, size_t size);

/*
 * Reserve inaccessible addresses, or return NULL. If at is not NULL, reserve them there, where
 * nothing may be mapped. Kernels before 4.17 may choose other addresses.
 */
void *sys_reserve(void *at, size_t size);

/*
 * Release pages and keep their addresses, inaccessible. -1 if the kernel has reached its limit of
 * mappings.
 */
int sys_discard(void *p, size_t size);

/* Release whole pages and keep the mapping. If it returns 0, they read as zero. */
int sys_purge(void *p, size_t size);

/*
 * As sys_purge, for a range with locked pages, which the kernel refuses as a whole. It is purged in
 * pieces, and up to *left pieces page by page; *left counts down. -1: some pages remain.
 */
#define SYS_PURGE_PIECE (64 * KIB)
int sys_purge_apart(void *p, size_t size, size_t *left);

/* The addresses that the main stack may grow to, where nothing may be mapped. Empty if unknown. */
struct sys_room {
	uintptr_t start, end;
};

struct sys_room sys_stack_room(void);

/* Can the 8 bytes at p be read? They are in one page. A system call. */
bool sys_is_readable(const void *p);

/* A secret of this process. It never changes. */
uint64_t sys_secret(void);

/* Monotonic time in milliseconds, coarse. */
uint64_t sys_now_ms(void);

/* Monotonic time, and time since 1970, in nanoseconds. */
uint64_t sys_now_ns(void);
uint64_t sys_wall_ns(void);

/*
 * The kernel's ids of the calling thread and the process. sys_thread makes no system call: the
 * first allocation of each thread needs it, and a system call filter may not allow it.
 */
uint32_t sys_thread(void);
uint32_t sys_process(void);

/*
 * Sleep while *word is value, until sys_wake_one, for at most ns nanoseconds (below a second; 0: no
 * limit). Spurious wakeups are possible.
 */
void sys_sleep_on(_Atomic(uint32_t) *word, uint32_t value, long ns);
void sys_wake_one(_Atomic(uint32_t) *word);

/* Sleep for at most ns nanoseconds, as sys_sleep_on does. */
static inline void sys_sleep(long ns)
{
	_Atomic(uint32_t) never_woken = 0;

	sys_sleep_on(&never_woken, 0, ns);
}

/* The path of the executable, truncated to size bytes including the null; empty if unknown. */
void sys_program(char *path, size_t size);

/* Copy memory that another thread may unmap. False: not all of it can be read. */
bool sys_copy(void *to, const void *from, size_t size);

/* Read size bytes of the executable at offset. False if they cannot be read. */
bool sys_read_program(uint64_t offset, void *to, size_t size);

/* Close a descriptor of the calling thread. Preserves errno. */
void sys_close(int fd);

/* Write the current folder to path (PATH_MAX bytes). False with errno. */
bool sys_folder(char *path);

/* Memory of the process in bytes; 0 is unknown. And its page faults; a major one reads a disk. */
struct sys_memory {
	size_t size, resident, shared; /* of /proc/self/statm */
	size_t peak_resident; /* never below resident */
	size_t minor_faults, major_faults;
};

void sys_get_memory(struct sys_memory *memory);

/* Events, and the arguments that sys_observer gets. */
enum sys_event {
	SYS_BRK, /* the break before and after */
	SYS_MMAP, /* address, size */
	SYS_MUNMAP, /* address, size */
	SYS_MREMAP, /* old address, new address, new size */
	SYS_MADVISE, /* address, size */
	SYS_EVENTS,
};

/* The number of these system calls so far, including refused ones. */
size_t sys_count(enum sys_event event);

/* If not NULL, called after each of these, with any locks held. It must preserve errno. */
extern void (*sys_observer)(enum sys_event event, uint64_t a, uint64_t b, uint64_t c, bool failed);

/*
 * Give the calling thread, the service, an empty table of descriptors. Which thread it is is
 * remembered until sys_forget_service, for a forked child. False with errno: Linux before 5.9, or a
 * system call filter.
 */
bool sys_leave_files(void);
void sys_forget_service(void);

/*
 * A file that the program does not know. Its descriptor is high and closed on exec. If the program
 * closes it, it is opened again.
 */
struct sys_descriptor {
	int fd;
	uint64_t device, inode;
};

struct sys_file {
	struct sys_descriptor at[2]; /* of the program; of the service */
	uint64_t device, inode;
	char path[PATH_MAX]; /* absolute */
};

/*
 * Create or truncate the file, and lock it. False with errno; EWOULDBLOCK if another process holds
 * the lock. A forked child must close the file to leave the lock to its parent.
 */
bool sys_file_open(struct sys_file *f, const char *path);

/* Whether this thread has f open. */
bool sys_file_is_open(const struct sys_file *f);

/* Close f, and make it what to is, which this thread has opened. */
void sys_file_become(struct sys_file *f, const struct sys_file *to);

/* Close f. Idempotent. Preserves errno. */
void sys_file_close(struct sys_file *f);

/*
 * Map size bytes at offset, shared; both are multiples of the page size. Their disk space is
 * allocated first, so writes to the mapping cannot fail. NULL with errno.
 */
void *sys_file_map(struct sys_file *f, uint64_t offset, size_t size);
void sys_file_unmap(void *p, size_t size);

/* Drop mapped pages from memory. They are read again when they are touched. */
void sys_file_release(void *p, size_t size);

/* Truncate f to size bytes. Mappings beyond them must not be touched any more. */
void sys_file_cut(struct sys_file *f, uint64_t size);

/*
 * Begin anew: drop the contents, or make a new file if that has been moved or removed. What is no
 * regular file stays as it is.
 */
void sys_file_rewind(struct sys_file *f);

/* Append data. False with errno if not all of it was written. */
bool sys_file_append(struct sys_file *f, const void *data, size_t len);

/*
 * A file that is replaced as a whole, so that it is complete at any time. Its owner has it locked:
 * sys_file_own locks what is there, or an empty file, with the errors of sys_file_open. What
 * replaces it is locked as well. sys_file_replace renames f, which is complete, to path; false with
 * errno. sys_file_remove deletes f, which is not. Files of other kinds cannot be replaced.
 */
bool sys_file_own(struct sys_file *f, const char *path);
bool sys_file_is_replaceable(const char *path);
bool sys_file_replace(struct sys_file *f, const char *path);
void sys_file_remove(struct sys_file *f);

/* Write text to standard error. Preserves errno. */
void sys_print(const char *text, size_t len);

/*
 * Duplicate standard error for sys_print, because the program may close it: coreutils do so before
 * the last destructors run.
 */
void sys_keep_stderr(void);

/*
 * report.c: print one line "osmem: …" on standard error, of up to 500 characters. Preserves errno.
 */
void sys_report(const char *format, ...) __attribute__((format(__printf__, 1, 2)));

/* The name of an error, as "ENOENT". */
const char *sys_error_name(int error);

/*
 * Print one line "osmem: CALL(POINTER): WHAT" on standard error, then abort(). what is a
 * format of utils/printf.c. Preserve errno.
 */
void sys_fatal(const char *call, const void *p, const char *what, ...)
	__attribute__((noreturn, cold, format(__printf__, 3, 4)));

/*
 * The same for a call with a wrong argument. It returns if misuse is tolerated, perhaps without a
 * line: the call then has to do nothing. The caller holds no lock.
 */
void sys_misuse(const char *call, const void *p, const char *what, ...)
	__attribute__((cold, format(__printf__, 3, 4)));

/* From now on misuse is tolerated. False if memory is exhausted. */
bool sys_tolerate_misuse(void);

/*
 * The call site that reports of the calling thread have, until its next call: the return address of
 * the public function. Does nothing unless misuse is tolerated.
 */
void sys_note_call_site(const void *site) __attribute__((cold));

/* If not NULL, called behind the line of a report. It may not allocate. */
extern void (*sys_on_fatal)(void);
