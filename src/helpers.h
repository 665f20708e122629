/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * All system calls. Memory that is refused is returned as NULL or -1 with errno ENOMEM; anything
 * else that fails is a bug of the caller and fatal. Sizes are in bytes.
 */

#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)
#define EXPORT __attribute__((visibility("default")))
/* Of a large table: it is behind all small variables, which so have few pages. */
#define APART __attribute__((common))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* The kernel maps nothing above this of its own accord, with five levels of page tables neither. */
#ifdef __x86_64__
#define SYS_MAP_MAX ((size_t)1 << 47)
#else
#define SYS_MAP_MAX ((size_t)1 << 48)
#endif

/* Priorities of constructors, from the bottom wing up. Fork handlers run in this order, too. */
#define SYS_BEGIN_BLOCK 101
#define SYS_BEGIN_CACHE 102
#define SYS_BEGIN_OPTIONS 103

/* OSMEM_OPTIONS, or NULL; not for a privileged program. */
const char *sys_options(void);

/* The page size; 4096 where the kernel does not say. */
size_t sys_page_size(void) __attribute__((pure));

/* The current program break, as libc knows it, or NULL. */
char *sys_break(void);

/* Raise the break by size; the old break, or NULL. */
char *sys_raise_break(size_t size);

/* Fresh zeroed private memory at a page boundary, or NULL. */
void *sys_map(size_t size);

/* As sys_map, at exactly this place; NULL with errno EEXIST if anything is there, or ENOMEM. */
void *sys_map_at(void *at, size_t size);

/* Give a mapping back; -1 if the kernel refuses, as it may where a mapping would become two. */
int sys_unmap(void *p, size_t size);

/*
 * Give a mapping back for good; size need not be a multiple of the page size. If the kernel
 * refuses, the pages are purged and the mapping is put on a list, to be tried again. errno is
 * preserved.
 */
void sys_release(void *p, size_t size);

/*
 * Try again; true if anything went. What is tried is on no list meanwhile: a fork may not happen,
 * so the caller has a lock that it takes.
 */
bool sys_release_rest(void);

/* Resize a mapping, moving it if it must; the new place, or NULL with the old one intact. */
void *sys_remap(void *p, size_t old_size, size_t new_size);

/*
 * Move pages to addresses that are the caller's. There, new_size bytes replace what is mapped; -1
 * leaves all as it was. If the size stays the same, empty pages are left behind: kernels before 5.7
 * cannot do that. Otherwise nothing is mapped there any more.
 */
int sys_move(void *p, size_t old_size, void *to, size_t new_size);

/* Nothing can be read or written there from now on; -1 if the kernel has no room to note it. */
int sys_protect(void *p, size_t size);

/* It can be again; -1 if the kernel has no room, or no memory for what is to be written there. */
int sys_unprotect(void *p, size_t size);

/*
 * Addresses that nothing can be read or written at, or NULL. If at is not NULL, they are there,
 * where nothing may be mapped; kernels before 4.17 may give others instead.
 */
void *sys_reserve(void *at, size_t size);

/*
 * Give back pages and keep their addresses, at which nothing can be read or written from then on;
 * -1 if the kernel has no room to note it.
 */
int sys_bury(void *p, size_t size);

/* Give whole pages back but keep the addresses; they read as zero afterwards if 0 is returned. */
int sys_purge(void *p, size_t size);

/*
 * The same for a range in which memory may be locked, which the kernel refuses whole: it is purged
 * in pieces, and up to *left pieces, which counts down, page by page. -1: something stays.
 */
#define SYS_PURGE_PIECE (64 * KIB)
int sys_purge_apart(void *p, size_t size, size_t *left);

/* Where the main stack is and may grow to: nothing is to be mapped there. Empty if not known. */
struct sys_room {
	uintptr_t start, end;
};

struct sys_room sys_stack_room(void);

/* A secret of this process, the same for its whole life. */
uint64_t sys_secret(void);

/* Milliseconds of a clock that never goes back, coarse. */
uint64_t sys_now_ms(void);

/* Nanoseconds of the same clock, exact; and since 1970. */
uint64_t sys_now_ns(void);
uint64_t sys_wall_ns(void);

/*
 * The kernel's numbers of the calling thread and the process. sys_thread makes no system call:
 * every thread's first allocation wants it, and a filter made for another malloc may kill for it.
 */
uint32_t sys_thread(void);
uint32_t sys_process(void);

/*
 * Sleep while *word is value, until sys_wake_one; at most ns nanoseconds, which are below a second,
 * unless that is 0. Wakes up for no reason, too.
 */
void sys_sleep_on(_Atomic(uint32_t) *word, uint32_t value, long ns);
void sys_wake_one(_Atomic(uint32_t) *word);

/* The path of the executable, cut to size bytes with its null; empty if it cannot be had. */
void sys_program(char *path, size_t size);

/* The current folder, absolute, in path (PATH_MAX bytes); false with errno. */
bool sys_folder(char *path);

/* Pages of the process, as /proc/self/statm has them; zeroes where there is none. */
struct sys_memory {
	size_t size, resident, shared; /* in bytes */
};

void sys_get_memory(struct sys_memory *memory);

/* Of the whole process so far. */
struct sys_usage {
	size_t minor_faults, major_faults; /* without and with a read from a disk */
	size_t peak_resident; /* in bytes */
};

void sys_get_usage(struct sys_usage *usage);

/* What sys_observer is told. */
enum sys_event {
	SYS_BRK, /* the break before and after */
	SYS_MMAP, /* address, size */
	SYS_MUNMAP, /* address, size */
	SYS_MREMAP, /* old address, new address, new size */
	SYS_MADVISE, /* address, size */
	SYS_EVENTS,
};

/* How many there were, from the beginning; refused ones too. */
size_t sys_count(enum sys_event event);

/* If not NULL, called after each of these; any locks may be held. It must preserve errno. */
extern void (*sys_observer)(enum sys_event event, uint64_t a, uint64_t b, uint64_t c, bool failed);

/*
 * A file that the program knows nothing about: its descriptor is a high one, closed on exec, and
 * found again if the program closes it.
 */
struct sys_file {
	int fd;
	uint64_t device, inode;
	char path[PATH_MAX]; /* absolute */
};

/*
 * Make or empty the file, and lock it for this process. False with errno; EWOULDBLOCK if another
 * process has it. Forked children have to close it to leave the lock with their parent.
 */
bool sys_file_open(struct sys_file *f, const char *path);

/* Close f, unless it is closed. errno is preserved. */
void sys_file_close(struct sys_file *f);

/*
 * Map size bytes from offset on, shared; both are multiples of the page size. The disk has room for
 * them, so no write there can fail. NULL with errno.
 */
void *sys_file_map(struct sys_file *f, uint64_t offset, size_t size);
void sys_file_unmap(void *p, size_t size);

/* Pages that were mapped so need not be resident for now. */
void sys_file_release(void *p, size_t size);

/* Cut f to size bytes. What is mapped beyond may not be touched any more. */
void sys_file_cut(struct sys_file *f, uint64_t size);

/* Append text; false with errno when it could not be written whole. */
bool sys_file_append(struct sys_file *f, const char *text, size_t len);

/* Write text to standard error, all of it, leaving errno alone. */
void sys_print(const char *text, size_t len);

/*
 * Print to what is standard error now from here on, even when the program closes it: coreutils do
 * so before the last destructors run.
 */
void sys_keep_stderr(void);

/*
 * Print one line "osmem: CALL(POINTER): WHAT" on standard error, then abort(). what is a format of
 * utils/printf.c.
 */
void sys_fatal(const char *call, const void *p, const char *what, ...)
	__attribute__((noreturn, cold, format(__printf__, 3, 4)));
