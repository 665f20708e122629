// SPDX-License-Identifier: BSD-3-Clause

/*
 * A stack is taken by our own unwinder. That of libgcc takes seven times as long (106 ns a frame
 * for 15), loads a library and may take locks. Nor does a report wait for the loader's lock, which
 * a thread holds while it runs the constructors of a plugin: names are looked up here.
 */

#include "stack.h"

#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#include "helpers.h"
#include "image.h"
#include "unwind.h"

#define SHOWN_MAX 200 /* longer names are truncated; longer paths lose their start */

/* The function that contains address. */
struct function {
	uintptr_t address, start;
	uint32_t name; /* 0: not found */
};

static void match(uintptr_t start, uintptr_t size, uint32_t name, void *arg)
{
	struct function *f = arg;

	if (!f->name && f->address - start < size) {
		f->start = start;
		f->name = name;
	}
}

static const char *last_of(const char *text)
{
	size_t len = strlen(text);

	return len > SHOWN_MAX ? text + len - SHOWN_MAX : text;
}

/* "osmem:   #3 function+0x1b, /path/program+0x11c5" */
static void print_frame(unsigned int number, uintptr_t address, struct image *image)
{
	struct function f = {.address = address};
	bool is_found = image && image_find(image, address);
	const char *name = NULL;
	const char *path = is_found ? last_of(image->path) : "?";
	unsigned long at = address - (is_found ? image->bias : 0);

	if (is_found)
		image_functions(image, match, &f);
	if (f.name)
		name = image_name(image, f.name);
	if (name)
		sys_report("  #%u %.200s+0x%lx, %s+0x%lx", number, name, address - f.start, path,
			   at);
	else
		sys_report("  #%u %s+0x%lx", number, path, at);
}

void stack_print(const uintptr_t *frames, unsigned int n)
{
	struct image *image = sys_map(sizeof(*image));

	/* - 1: a call may be the last instruction of its function. */
	for (unsigned int i = 0; i < n; i++)
		print_frame(i, frames[i] - 1, image);
	if (image)
		sys_release(image, sizeof(*image));
}

/* The start of the object that has this code: the linker defines it. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

static _Atomic(bool) is_ready; /* what follows is set */
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

unsigned int stack_take(uintptr_t *frames, unsigned int max)
{
	struct unwind u;
	unsigned int n = 0;
	bool is_found = true;

	if (!atomic_load_explicit(&is_ready, memory_order_acquire))
		return 0;
	registers_take(&u.at);
	unwind_first(&u);
	while (n < max && (is_found = unwind_step(&u)))
		if (n || u.at.pc - own_start >= own_size)
			frames[n++] = u.at.pc;
	unwind_last(&u);
	return n - (n && !is_found && u.is_guess);
}

bool stack_begin(void)
{
	if (!is_ready) {
		find_own_code();
		is_ready = unwind_begin();
	}
	return is_ready;
}
