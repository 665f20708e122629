/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The format of trace files (OSMEM_OPTIONS=trace=FILE).
 *
 *	offset 0                 TRACE_HEADER_SIZE     + 40                  + 80
 *	| struct trace_header, 0 | struct trace_record | struct trace_record | …
 *
 * All fields are little-endian and naturally aligned, without padding. Addresses and sizes are in
 * bytes. The process writes to a mapping of the file, so the file is complete even if the process
 * was killed. Read min(header.next, header.capacity) records, but not beyond the end of the file.
 * Skip a record whose kind is 0: it was never completed. Skip unknown kinds, steps and names;
 * version changes when that is not sufficient.
 *
 * Order. Records are in the order in which they were claimed; times may differ slightly from it.
 * Steps of os_malloc are in the order of execution. A call that allocates is recorded when it has
 * its result, a call that frees before it frees. So an address is never reused before the record of
 * its free. For realloc, TRACE_ENTER ends the old block. TRACE_CALL starts the new block, or the
 * old one again if the call failed.
 *
 * A map (OSMEM_OPTIONS=map=FILE or osmem_write_map) is such a file with one snapshot and figures.
 */

#pragma once

#include <stdint.h>

#define TRACE_MAGIC "OSMEMTRC" /* 8 bytes, no null */
#define TRACE_VERSION 1
#define TRACE_HEADER_SIZE 4096

struct trace_header {
	char magic[8]; /* TRACE_MAGIC */
	uint32_t version; /* TRACE_VERSION */
	uint32_t header_size; /* TRACE_HEADER_SIZE: the offset of the first record */
	uint32_t record_size; /* sizeof(struct trace_record), 40 */
	uint32_t pid;
	uint32_t page_size;
	uint32_t meta_size; /* of the header in front of a block's payload, 32 */
	uint64_t start_wall; /* nanoseconds since 1970 when record.time was 0 */
	uint64_t start_clock; /* CLOCK_MONOTONIC in nanoseconds at that time */
	uint64_t end_time; /* as record.time, of a normal exit; 0: running, killed, or _exit */
	uint64_t capacity; /* the maximum number of records, from trace_size */
	uint64_t next; /* records claimed; above capacity if the file was full */
	uint64_t dropped; /* records lost: the file was full or could not grow */
	uint32_t parent; /* the process that forked this one while it traced, or 0 */
	uint32_t reserved;
	char program[256]; /* the path of the executable, null-terminated, may be truncated */
};

struct trace_record {
	uint64_t time; /* nanoseconds since header.start_clock */
	uint32_t thread; /* as gettid() */
	uint8_t kind; /* enum trace_kind; 0: not completed */
	uint8_t what; /* by kind: a name, a step, or a heap */
	uint8_t rule; /* TRACE_STEP: the number of the placement rule, or 0 */
	uint8_t flags; /* TRACE_FAILED, … */
	uint64_t a, b, c; /* by kind and what, see below; 0 if not defined */
};

_Static_assert(sizeof(struct trace_header) == 344, "the file format is fixed");
_Static_assert(sizeof(struct trace_record) == 40, "the file format is fixed");

#define TRACE_FAILED 1 /* a call returned NULL or an error; a system call was refused */

/*
 * Kinds of records.
 *
 * TRACE_ENTER: the start of a call. what is an enum trace_name; a and b are as in TRACE_CALL. Only
 * for os_*, realloc and reallocarray. A TRACE_CALL of the same thread and name follows, unless the
 * process ends. Steps of this thread between the two belong to the call.
 *
 * TRACE_CALL: a call with its arguments and result; see enum trace_name.
 *
 * TRACE_STEP: a step of a call; see enum trace_step. System calls may belong to any name and
 * precede the TRACE_CALL of their thread. All other steps are those of os_malloc's heap, also for
 * calls of malloc (OSMEM_OPTIONS=course): those that free have their steps behind the TRACE_CALL.
 *
 * TRACE_FIGURES: about 100 times a second, at the start more often, and at the end. Three records
 * of one thread, one after another; older traces lack the last one:
 *	what 0	a live bytes of all heaps, rounded up as the allocator rounds, with headers, but
 *		  without caches
 *		b bytes held: regions with their reserve, used and dirty pages of segments,
 *		  mappings, live or cached
 *		c dirty bytes: free memory that can be returned to the kernel
 *	what 1	a resident bytes of the process, from /proc/self/statm
 *		b resident bytes that are shared or of files, this trace among them
 *		c bytes of address space
 *	what 2	a cached bytes: freed, and kept whole for the next object of their size
 *		b free bytes: in slabs and blocks, in reserves, and dirty pages
 *		c bytes of metadata. live + cached + free + metadata are the bytes held
 *
 * A snapshot lists all heaps between a TRACE_SNAP_BEGIN and a TRACE_SNAP_END of one thread. Records
 * of other threads may be between. With several threads each heap's blocks are consistent, but
 * heaps are copied one after another. A snapshot is written at exit, behind figures meanwhile, and
 * at the start of a trace: the process may have blocks already, a forked one has those of its
 * parent. what of BEGIN is an enum trace_reason, that of the others an enum trace_heap.
 *	END	a number of records of the snapshot, without BEGIN and END
 *	REGION	a start; b end of its last block; c end of its reserve
 *	BLOCK	in address order, behind its region: a header; b payload bytes; c status: 0 free, 1
 *		allocated
 *	MAPPED	a start; b payload bytes; c bytes of the whole mapping. For os_malloc the start is
 *		that of the header, and the mapping ends with the payload. For malloc it is that of
 *		the payload; a hardened mapping has guard pages around it
 *	SEGMENT	4 MiB in 64 slots of 64 KiB, slot 0 is metadata: a start; b bit i: a page of slot i
 *		is used; c bit i: a page of slot i is free and dirty
 *	SLAB	of the preceding segment: a start; b bytes of a cell, slots from bit 32 on; c
 *		capacity in cells, from bit 16 on cells carved so far, from bit 32 on cells live or
 *		cached, from bit 48 on 1 if they are the library's own objects
 *	SPAN	of the preceding segment, behind its slabs: a start; b bytes; c status: 1 allocated,
 *		0 freed and cached by a thread. Older traces have regions and blocks of
 *		TRACE_HEAP_LIBC instead, and records of kind 23, which are not used
 *	CACHE	at the end, for each size of cells of which some are cached: a bytes of a cell; b
 *		cells that are cached. The slabs count them as "live or cached"
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
	TRACE_SNAP_CACHE = 25,
	TRACE_SNAP_KIND_END, /* one more than the highest */
};

enum trace_reason {
	TRACE_AT_START = 0,
	TRACE_AT_EXIT = 1,
	TRACE_ASKED = 2, /* osmem_write_map, map=FILE */
	TRACE_MEANWHILE = 3, /* a new peak of live bytes, or some time has passed */
};

enum trace_heap {
	TRACE_HEAP_COURSE = 0, /* os_* */
	TRACE_HEAP_LIBC = 1, /* malloc and its relatives: objects above 32 KiB */
	TRACE_HEAP_CELLS = 2, /* malloc and its relatives, up to 32 KiB: segments, slabs, caches */
};

/*
 * Names, and the meaning of a, b and c in a TRACE_CALL. ptr and result are payloads, 0 for NULL. A
 * call failed if it has TRACE_FAILED. Size 0 is not a failure of os_* and realloc.
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
 * Steps, with their rules. A block is given by the address of its header. Its payload starts
 * meta_size bytes behind. A reader reconstructs the heap's list of (header, payload bytes, status)
 * from a snapshot, or an empty list, by applying the steps from REGION to UNMAPPED.
 *	SEARCH	 11		a requested payload bytes, rounded up; b the best fit, 0 if nothing
 *				fits; c its payload bytes. The candidates are the free blocks of the
 *				current list, which preceding steps have coalesced (rule 10)
 *	REGION			a new empty region: a start; b end of its reserve, which may change
 *	APPEND	 9, 13		a new free block, behind the last one of its region; b payload bytes
 *	SPLIT	 12, 17a, 17c	a block; b its new payload bytes; c payload bytes of the remainder,
 *				a free block that starts at the new end of a
 *	COALESCE 10, 17c	a block; b the free block behind it, which a absorbs; c new payload
 *				bytes of a
 *	EXPAND	 13, 17b	a the last block; b its old payload bytes; c its new ones
 *	USE			a allocated block; b payload bytes
 *	FREE	 14		a freed block; b payload bytes
 *	MAPPED	 7		a new mapped block; b payload bytes
 *	UNMAPPED 7		a mapped block that is unmapped; b payload bytes
 *	COPY	 18, calloc	a source (0: zeros); b target, both payloads; c bytes
 * System calls, of any name. TRACE_FAILED: refused.
 *	BRK			a old break; b new break. The first one, of rule 9, raises it by
 *				131072: preallocation
 *	MMAP, MUNMAP		a address; b bytes
 *	MREMAP			a old address; b new address; c new bytes
 *	MADVISE			a address; b bytes: pages released, addresses kept
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
