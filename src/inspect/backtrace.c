// SPDX-License-Identifier: BSD-3-Clause

/*
 * OSMEM_OPTIONS=backtrace: print the call stack behind a report.
 *
 * 1. The first call of libc's backtrace() loads libgcc's unwinder and allocates. So it is called
 *    when the option is read. A report allocates nothing.
 * 2. A report must not wait for another thread. So symbols are looked up here:
 *    backtrace_symbols_fd() takes the loader's lock, which a thread holds while it runs the
 *    constructors of a plugin.
 */

#include "backtrace.h"

#include <execinfo.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "elf_symbol.h"
#include "helpers.h"
#include "printf.h"

#define FRAMES_MAX 64
#define LINE_SIZE 512
#define SHOWN_MAX 200 /* longer names are truncated; longer paths lose their start */

struct frame {
	uintptr_t address;
	uintptr_t bias, function; /* of its object; where the function begins, if it has a name */
	const char *path, *name; /* NULL: unknown */
};

static bool has_address(const struct dl_phdr_info *info, uintptr_t address)
{
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD &&
		    address - info->dlpi_addr - info->dlpi_phdr[i].p_vaddr <
			    info->dlpi_phdr[i].p_memsz)
			return true;
	return false;
}

static int find_in_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct frame *f = arg;
	/* The program has no name here. The vDSO has no path, and libc relocates nothing in it. */
	bool is_relocated = !*info->dlpi_name || strchr(info->dlpi_name, '/');

	(void)size;
	if (!has_address(info, f->address))
		return 0;
	f->bias = info->dlpi_addr;
	f->path = info->dlpi_name;
	f->name = elf_function(info->dlpi_phdr, info->dlpi_phnum, info->dlpi_addr, is_relocated,
			       f->address, &f->function);
	return 1;
}

static const char *last_of(const char *text)
{
	size_t len = strlen(text);

	return len > SHOWN_MAX ? text + len - SHOWN_MAX : text;
}

/* "osmem:   #3 function+0x1b, /path/program+0x11c5" */
static void print_frame(size_t number, const struct frame *f, const char *program)
{
	char line[LINE_SIZE];
	int n = snprintf_(line, sizeof(line), "osmem:   #%lu ", (unsigned long)number);

	if (f->name)
		n += snprintf_(line + n, sizeof(line) - (size_t)n, "%.200s+0x%lx, ", f->name,
			       (unsigned long)(f->address - f->function));
	n += snprintf_(line + n, sizeof(line) - (size_t)n, "%s+0x%lx\n",
		       f->path ? last_of(*f->path ? f->path : program) : "?",
		       (unsigned long)(f->address - f->bias));
	sys_print(line, (size_t)n);
}

static void print_stack(void)
{
	void *addresses[FRAMES_MAX];
	char program[SHOWN_MAX + 1];
	int count = backtrace(addresses, FRAMES_MAX);

	sys_program(program, sizeof(program));
	for (int i = 0; i < count; i++) {
		/* - 1: a call may be the last instruction of its function. */
		struct frame f = {.address = (uintptr_t)addresses[i] - 1};

		dl_iterate_phdr(find_in_object, &f);
		print_frame((size_t)i, &f, program);
	}
}

/*
 * NULL in a program without a dynamic section. The unwinder is linked into it: nothing is to be
 * loaded, and it aborts before its own constructor has run, which is after ours.
 */
#pragma weak _DYNAMIC

bool backtrace_begin(void)
{
	void *address;

	if (_DYNAMIC && backtrace(&address, 1) < 1)
		return false;
	sys_on_fatal = print_stack;
	return true;
}
