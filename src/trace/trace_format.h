/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The file that OSMEM_OPTIONS=trace=FILE makes, for those who write and for those who read it.
 *
 *	offset 0                 TRACE_HEADER_SIZE     + 40                  + 80
 *	| struct trace_header, 0 | struct trace_record | struct trace_record | …
 *
 * Everything is little-endian, at its natural alignment, and without padding. Addresses and sizes
 * are in bytes. The file is a mapping that the process writes to, so it is whole up to the last
 * moment also when the process was killed: take min(header.next, header.capacity) records, and no
 * more than the file has. A record whose kind is 0 was never finished: skip it. A reader skips
 * kinds, steps and names that it does not know; version changes when that is not enough.
 *
 * Order. Records are in the order in which their places were taken, and times nearly so. What
 * happens to the blocks of os_malloc is in the order in which it happened. A TRACE_CALL that
 * allocates is written when it has its result, one that frees before it frees: so an address is
 * never handed out again before the record of its free. realloc has both: its TRACE_ENTER ends the
 * old block, its TRACE_CALL begins the new one, or the old one again if it failed.
 *
 * A map, OSMEM_OPTIONS=map=FILE or osmem_write_map, is such a file with one snapshot and figures.
 */

#pragma once

#include <stdint.h>

#define TRACE_MAGIC "OSMEMTRC" /* 8 bytes, no null */
#define TRACE_VERSION 1
#define TRACE_HEADER_SIZE 4096

struct trace_header {
	char magic[8]; /* TRACE_MAGIC */
	uint32_t version; /* TRACE_VERSION */
	uint32_t header_size; /* TRACE_HEADER_SIZE: where the records begin */
	uint32_t record_size; /* sizeof(struct trace_record), 40 */
	uint32_t pid;
	uint32_t page_size;
	uint32_t meta_size; /* of the header in front of a block's payload, 32 */
	uint64_t start_wall; /* nanoseconds since 1970, when record.time was 0 */
	uint64_t start_clock; /* CLOCK_MONOTONIC in nanoseconds at that moment */
	uint64_t end_time; /* as record.time, of an orderly exit; 0: running, killed, or _exit */
	uint64_t capacity; /* the most records that the file can have: trace_size */
	uint64_t next; /* records whose places were taken; past capacity when some found none */
	uint64_t dropped; /* records that were lost: the file was full, or could not grow */
	uint32_t parent; /* the process that this one was forked from while it traced, or 0 */
	uint32_t reserved;
	char program[256]; /* the path of the executable, null-terminated, perhaps cut */
};

struct trace_record {
	uint64_t time; /* nanoseconds since header.start_clock */
	uint32_t thread; /* as gettid() */
	uint8_t kind; /* enum trace_kind; 0: not finished */
	uint8_t what; /* by kind: a name, a step, or a heap */
	uint8_t rule; /* of TRACE_STEP: the number of the placement rule, 0 for none */
	uint8_t flags; /* TRACE_FAILED, … */
	uint64_t a, b, c; /* by kind and what, as below; 0 where nothing is said */
};

_Static_assert(sizeof(struct trace_header) == 344, "the format is what it says");
_Static_assert(sizeof(struct trace_record) == 40, "the format is what it says");

#define TRACE_FAILED 1 /* a call returned NULL or an error; a system call was refused */

/*
 * Kinds, and what their records have.
 *
 * TRACE_ENTER: a call begins; what is an enum trace_name, a and b are as for TRACE_CALL. Only for
 * os_*, realloc and reallocarray, and always followed by a TRACE_CALL of the same thread and name,
 * unless the process ends. Steps in between, of the same thread, are the call's.
 *
 * TRACE_CALL: a call with its arguments and result: see enum trace_name.
 *
 * TRACE_STEP: something that happened in the course of a call: see enum trace_step. All but the
 * system calls are of the heap of os_malloc; those of other calls precede the TRACE_CALL of their
 * thread.
 *
 * TRACE_FIGURES: some 100 times a second and at the end, in two records one after another, of one
 * moment and thread:
 *	what 0	a live bytes, rounded up as the allocator rounds, blocks' headers included, of
 *		  everything (but not what caches hold)
 *		b bytes held: regions with what is ahead of need, used and dirty pages of segments,
 *		  mappings, live or kept
 *		c dirty bytes: free memory that the kernel could have back
 *	what 1	a resident bytes of the process, as /proc/self/statm has it
 *		b those of them that are shared or of files, this trace's own among them
 *		c bytes of address space
 *
 * A snapshot is everything there is, between a TRACE_SNAP_BEGIN and a TRACE_SNAP_END of one thread;
 * other threads' records may be between. In a process with several threads the parts are of
 * slightly different moments, each heap's blocks of one. One is written when tracing begins in a
 * process that has blocks (so after a fork), and at exit. what of BEGIN is an enum trace_reason, of
 * the others an enum trace_heap.
 *	END	a the number of records between that belong to it
 *	REGION	a start; b end of its last block; c end of what the kernel gave
 *	BLOCK	in order of address, after the region that they are in: a header; b payload bytes;
 *		c status: 0 free, 1 allocated
 *	MAPPED	a start; b payload bytes; c bytes of the whole mapping. Of os_malloc the start is
 *		that of the header, and the mapping ends where the payload ends. Of malloc it is
 *		that of the payload; hardened, the mapping has guards around it
 *	SEGMENT	4 MiB of 64 slots of 64 KiB, slot 0 their metadata: a start; b bit i: some of slot i
 *		is used; c bit i: some of it is free and dirty
 *	SLAB	of the segment before: a start; b bytes of a cell, from bit 32 on slots; c cells
 *		that it has room for, from bit 16 on those carved so far, from bit 32 on those that
 *		are live or cached, from bit 48 on 1 if they are the library's own objects
 *	SPAN	of the segment before, behind its slabs: a start; b bytes; c status: 1 allocated, 0
 *		freed, and kept for the next object of this size. Older traces have regions and
 *		blocks of TRACE_HEAP_LIBC instead, and records of kind 23, which nothing reads
 */
enum trace_kind {
	TRACE_ENTER = 1,
	TRACE_CALL = 2,
	TRACE_STEP = 3,
	TRACE_FIGURES = 4,
	TRACE_SNAP_BEGIN = 16,
	TRACE_SNAP_END = 17,
	TRACE_SNAP_REGION = 18,
	TRACE_SNAP_BLOCK = 19,
	TRACE_SNAP_MAPPED = 20,
	TRACE_SNAP_SEGMENT = 21,
	TRACE_SNAP_SLAB = 22,
	TRACE_SNAP_SPAN = 24,
	TRACE_SNAP_KIND_END, /* one more than the highest */
};

enum trace_reason {
	TRACE_AT_START = 0, /* the process had blocks already: it was forked */
	TRACE_AT_EXIT = 1,
	TRACE_ASKED = 2, /* osmem_write_map, map=FILE */
};

enum trace_heap {
	TRACE_HEAP_COURSE = 0, /* os_malloc and its sisters */
	TRACE_HEAP_LIBC = 1, /* malloc and its relatives: objects above 32 KiB */
	TRACE_HEAP_CELLS = 2, /* the same, up to 32 KiB: segments, slabs, caches */
};

/*
 * Names, and what a, b and c are in a TRACE_CALL. ptr and result are payloads, 0 for NULL. A result
 * that is not NULL, or TRACE_FAILED, tells whether it worked; size 0 of os_* and realloc fails not.
 */
enum trace_name {
	TRACE_OS_MALLOC = 1, /* b size, c result */
	TRACE_OS_CALLOC = 2, /* a nmemb, b size, c result */
	TRACE_OS_REALLOC = 3, /* a ptr, b size, c result */
	TRACE_OS_FREE = 4, /* a ptr */

	TRACE_MALLOC = 16, /* b size, c result */
	TRACE_CALLOC = 17, /* a nmemb, b size, c result */
	TRACE_REALLOC = 18, /* a ptr, b size, c result */
	TRACE_REALLOCARRAY = 19, /* a ptr, b nmemb * size (all ones if that overflows), c result */
	TRACE_FREE = 20, /* a ptr */
	TRACE_FREE_SIZED = 21, /* a ptr, b size */
	TRACE_FREE_ALIGNED_SIZED = 22, /* a ptr, b size, c alignment */
	TRACE_ALIGNED_ALLOC = 23, /* a alignment, b size, c result */
	TRACE_MEMALIGN = 24, /* a alignment, b size, c result */
	TRACE_POSIX_MEMALIGN = 25, /* a alignment, b size, c result */
	TRACE_VALLOC = 26, /* a alignment, b size, c result */
	TRACE_PVALLOC = 27, /* a alignment, b size, c result */
	TRACE_NEW = 28, /* any form of operator new: a alignment or 0, b size, c result */
	TRACE_DELETE = 29, /* any form of operator delete: a ptr */
	TRACE_MALLOC_TRIM = 30, /* a pad, c result */
	TRACE_NAME_END, /* one more than the highest */
};

/*
 * Steps, with the rules that they follow. A block is given by the address of its header; its
 * payload begins meta_size bytes behind. Starting from a snapshot, or from nothing, the steps from
 * REGION to UNMAPPED change a list of (header, payload bytes, status) into what the heap's list is
 * after each of them.
 *	SEARCH	 11		a payload bytes wanted, rounded up; b the best fit, 0 if nothing
 *				fits; c its payload bytes. The candidates are the free blocks of the
 *				list as it is now, coalesced by rule 10 in the steps before
 *	REGION			an empty one begins: a start; b end of what the kernel gave, which
 *				may move later
 *	APPEND	 9, 13		a free block behind the last one of its region; b payload bytes
 *	SPLIT	 12, 17a, 17c	a block, cut down; b its payload bytes now; c those of the rest, a
 *				free block that begins where a now ends
 *	COALESCE 10, 17c	a block; b the free block behind it, which is no block any more; c
 *				payload bytes of a now
 *	EXPAND	 13, 17b	a the last block, which grows; b payload bytes before; c and now
 *	USE			a block that is handed out; b payload bytes
 *	FREE	 14		a block that is free; b payload bytes
 *	MAPPED	 7		a block with a mapping of its own that comes; b payload bytes
 *	UNMAPPED 7		the same, but it goes
 *	COPY	 18, calloc	a from (0: zeroes); b to, both payloads; c bytes
 * System calls, of any name; TRACE_FAILED: refused.
 *	BRK			a the break before; b after. Rule 9's first one raises it from where
 *				it is found by 131072: preallocation
 *	MMAP, MUNMAP		a address; b bytes
 *	MREMAP			a old address; b new address; c new bytes
 *	MADVISE			a address; b bytes: pages given back, addresses kept
 */
enum trace_step {
	TRACE_STEP_SEARCH = 1,
	TRACE_STEP_REGION = 2,
	TRACE_STEP_APPEND = 3,
	TRACE_STEP_SPLIT = 4,
	TRACE_STEP_COALESCE = 5,
	TRACE_STEP_EXPAND = 6,
	TRACE_STEP_USE = 7,
	TRACE_STEP_FREE = 8,
	TRACE_STEP_MAPPED = 9,
	TRACE_STEP_UNMAPPED = 10,
	TRACE_STEP_COPY = 11,
	TRACE_STEP_BRK = 32,
	TRACE_STEP_MMAP = 33,
	TRACE_STEP_MUNMAP = 34,
	TRACE_STEP_MREMAP = 35,
	TRACE_STEP_MADVISE = 36,
};
