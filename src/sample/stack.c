// SPDX-License-Identifier: BSD-3-Clause

/*
 * 1. A stack is taken by our own unwinder. That of libgcc takes nine times as long, loads a library
 *    and may take locks.
 * 2. Symbols are looked up here: backtrace_symbols_fd() takes the loader's lock, which a thread
 *    holds while it runs the constructors of a plugin, and a report must not wait for it.
 */

#include "stack.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#include "elf_symbol.h"
#include "helpers.h"
#include "printf.h"
#include "unwind.h"

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

void stack_print(const uintptr_t *frames, unsigned int n)
{
	char program[SHOWN_MAX + 1];

	sys_program(program, sizeof(program));
	for (unsigned int i = 0; i < n; i++) {
		/* - 1: a call may be the last instruction of its function. */
		struct frame f = {.address = frames[i] - 1};

		dl_iterate_phdr(find_in_object, &f);
		print_frame(i, &f, program);
	}
}

/*
 * NULL in a program without a dynamic section. The unwinder is linked into it: nothing is to be
 * loaded, and it aborts before its own constructor has run, which is after ours.
 */
#pragma weak _DYNAMIC

/* The start of the object that has this code: the linker defines it. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

static bool is_ready;
static uintptr_t own_start, own_size; /* this library's code; empty: it is in the program's */

/* A program that links the archive has our code in its own. */
static void find_own_code(void)
{
	uintptr_t bias = (uintptr_t)&__ehdr_start;
	const ElfW(Phdr) *segments = (const void *)(bias + __ehdr_start.e_phoff);

	if (getauxval(AT_PHDR) == (uintptr_t)segments)
		return;
	for (int i = 0; i < __ehdr_start.e_phnum; i++)
		if (segments[i].p_type == PT_LOAD && segments[i].p_flags & PF_X) {
			own_start = bias + segments[i].p_vaddr;
			own_size = segments[i].p_memsz;
		}
}

static inline __attribute__((always_inline)) void take_registers(struct unwind *u)
{
	__asm__ volatile("leaq 0(%%rip), %%rax\n\t"
			 "movq %%rax, %0\n\t"
			 "movq %%rsp, %1\n\t"
			 "movq %%rbp, %2\n\t"
			 "movq %%rbx, %3"
			 : "=m"(u->rip), "=m"(u->rsp), "=m"(u->rbp), "=m"(u->rbx)
			 :
			 : "rax");
}

unsigned int stack_take(uintptr_t *frames, unsigned int max)
{
	struct unwind u;
	unsigned int n = 0;
	bool is_found = true;

	if (!is_ready)
		return 0;
	take_registers(&u);
	unwind_first(&u);
	while (n < max && (is_found = unwind_step(&u)))
		if (n || u.rip - own_start >= own_size)
			frames[n++] = u.rip;
	unwind_last(&u);
	return n - (n && !is_found && u.is_guess);
}

bool stack_begin(void)
{
	find_own_code();
	is_ready = unwind_begin();
	return is_ready;
}
