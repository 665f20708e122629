// SPDX-License-Identifier: BSD-3-Clause

/*
 * The 20 replaceable forms of C++ operator new and delete, from C.
 *
 * 1. Four forms do the work: new, aligned new, delete, aligned delete. Every other form forwards to
 *    the one that the C++ standard names for it, as libstdc++ does, and it forwards through the
 *    dynamic linker: a program that replaces only new(size_t) and delete(void *) with its own gets
 *    all the other forms on top of its own pair, never one of ours that meets one of its own.
 * 2. Memory comes from tcache_alloc and goes to tcache_free, as malloc's, so it may be mixed with
 *    malloc and free. A bad pointer is reported under the name of the form that did the work:
 *    "operator delete".
 * 3. A throwing form that gets no memory calls the installed new-handler and tries again until
 *    there is none; then it throws std::bad_alloc. Both go through weak references to libstdc++:
 *    this library does not link it.
 * 4. The references stay unbound where the C++ runtime came in through dlopen, out of our sight (a
 *    C++ plugin of a C program), or is not libstdc++. Then the runtime's own definition of the same
 *    form is looked up among the loaded objects, and it does the rest: it calls malloc, which is
 *    ours and fails again, and it knows its handler and its exception. With no runtime loaded at
 *    all, nobody could catch: fatal.
 * 5. A nothrow form must return NULL when the new-handler throws. C cannot catch, so where a
 *    handler is installed, or new is the program's own, the runtime's nothrow form does it as in 4:
 *    it calls the throwing form, and catches.
 *
 * The functions may be called from any thread; they take no lock of their own. What throws is safe
 * to unwind through: this file is compiled with -fexceptions and holds nothing while it calls out.
 */

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "helpers.h"
#include "noted.h"
#include "tcache.h"

#define EXPORT __attribute__((visibility("default")))

/* For definitions that others here forward to: clang would inline them, though they may be
 * replaced. */
#define REPLACEABLE __attribute__((noinline))

/*
 * The forms under names one can read. Sizes and alignments are in bytes; std::align_val_t is passed
 * as a size_t, const std::nothrow_t & as a pointer. Rules: C++17, [new.delete].
 *
 * Size 0 is a unique pointer. Plain forms align to CELL_ALIGN, aligned ones to align; an alignment
 * that is no power of two is a failure. Throwing forms never return NULL; errno is not preserved.
 */
EXPORT void *operator_new(size_t size) __asm__("_Znwm");
EXPORT void *operator_new_array(size_t size) __asm__("_Znam");
EXPORT void *operator_new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
EXPORT void *operator_new_array_aligned(size_t size, size_t align) __asm__("_ZnamSt11align_val_t");

EXPORT void *operator_new_nothrow(size_t size, const void *tag) __asm__("_ZnwmRKSt9nothrow_t");
EXPORT void *operator_new_array_nothrow(size_t size,
					const void *tag) __asm__("_ZnamRKSt9nothrow_t");
EXPORT void *
operator_new_aligned_nothrow(size_t size, size_t align,
			     const void *tag) __asm__("_ZnwmSt11align_val_tRKSt9nothrow_t");
EXPORT void *
operator_new_array_aligned_nothrow(size_t size, size_t align,
				   const void *tag) __asm__("_ZnamSt11align_val_tRKSt9nothrow_t");

/*
 * NULL is ignored and errno is preserved. A size or an alignment that new cannot have been given is
 * reported, unless new or delete is the program's own. The nothrow ones are what the compiler calls
 * when a constructor throws out of a nothrow new.
 */
EXPORT void operator_delete(void *p) __asm__("_ZdlPv");
EXPORT void operator_delete_array(void *p) __asm__("_ZdaPv");
EXPORT void operator_delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t");
EXPORT void operator_delete_array_aligned(void *p, size_t align) __asm__("_ZdaPvSt11align_val_t");

EXPORT void operator_delete_sized(void *p, size_t size) __asm__("_ZdlPvm");
EXPORT void operator_delete_array_sized(void *p, size_t size) __asm__("_ZdaPvm");
EXPORT void operator_delete_sized_aligned(void *p, size_t size,
					  size_t align) __asm__("_ZdlPvmSt11align_val_t");
EXPORT void operator_delete_array_sized_aligned(void *p, size_t size,
						size_t align) __asm__("_ZdaPvmSt11align_val_t");

EXPORT void operator_delete_nothrow(void *p, const void *tag) __asm__("_ZdlPvRKSt9nothrow_t");
EXPORT void operator_delete_array_nothrow(void *p, const void *tag) __asm__("_ZdaPvRKSt9nothrow_t");
EXPORT void
operator_delete_aligned_nothrow(void *p, size_t align,
				const void *tag) __asm__("_ZdlPvSt11align_val_tRKSt9nothrow_t");
EXPORT void operator_delete_array_aligned_nothrow(void *p, size_t align, const void *tag) __asm__(
	"_ZdaPvSt11align_val_tRKSt9nothrow_t");

/* std::get_new_handler() and std::__throw_bad_alloc() of libstdc++, or NULL. */
typedef void new_handler(void);
extern new_handler *get_new_handler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv")
	__attribute__((weak, noreturn));

/* ---- Memory ---- */

static __attribute__((noinline, cold)) void *alloc_noted(size_t size)
{
	void *p = tcache_alloc_slow(size);

	note_alloc(TRACE_NEW, 0, size, p);
	return p;
}

static __attribute__((noinline)) void *alloc_slow(size_t size)
{
	return calls_are_noted ? alloc_noted(size) : tcache_alloc_slow(size);
}

static __attribute__((noinline)) void *alloc_wide(size_t size)
{
	return tcache_alloc_wide_or(size, alloc_slow);
}

static inline __attribute__((always_inline)) void *alloc(size_t size)
{
	return tcache_alloc_or(size, alloc_wide);
}

static void *alloc_aligned(size_t size, size_t align)
{
	void *p = tcache_alloc_aligned(size, align);

	if (calls_are_noted)
		note_alloc(TRACE_NEW, align, size, p);
	return p;
}

static __attribute__((noinline)) void release_slow(void *p)
{
	if (calls_are_noted)
		note_free("operator delete", TRACE_DELETE, p, 0, 0);
	tcache_free_slow("operator delete", p);
}

static inline __attribute__((always_inline)) void release(void *p)
{
	if (__builtin_expect(!tcache_put(p), 0))
		release_slow(p);
}

/* ---- The runtime's own forms (rules 4 and 5) ---- */

struct lookup {
	const char *name;
	void *found;
};

static bool is_cxx_runtime(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;

	return !strncmp(base, "libstdc++.so", 12) || !strncmp(base, "libc++.so", 9) ||
	       !strncmp(base, "libc++abi.so", 12);
}

static uint32_t gnu_hash(const char *name)
{
	uint32_t h = 5381;

	while (*name)
		h = h * 33 + (unsigned char)*name++;
	return h;
}

/*
 * Look name up in a DT_GNU_HASH table: a header of four words, the Bloom filter (not asked here),
 * the buckets with the number of their first symbol, and one hash a symbol, whose lowest bit ends a
 * bucket's chain.
 */
static const ElfW(Sym) * find_in_table(const uint32_t *table, const ElfW(Sym) * symbols,
				       const char *strings, const char *name)
{
	uint32_t buckets = table[0], first = table[1], bloom_words = table[2];
	const uint32_t *bucket = table + 4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
	const uint32_t *chain = bucket + buckets;
	uint32_t hash = gnu_hash(name);
	uint32_t i = buckets ? bucket[hash % buckets] : 0;

	for (; i >= first && i != 0; i++) {
		if ((chain[i - first] | 1) == (hash | 1) &&
		    !strcmp(strings + symbols[i].st_name, name) && symbols[i].st_shndx != SHN_UNDEF)
			return &symbols[i];
		if (chain[i - first] & 1)
			break;
	}
	return NULL;
}

static int find_in_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	const ElfW(Dyn) *d = NULL;
	const uint32_t *table = NULL;
	const ElfW(Sym) *symbols = NULL, *symbol;
	const char *strings = NULL;
	struct lookup *lookup = arg;

	(void)size;
	if (!is_cxx_runtime(info->dlpi_name))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			d = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (; d && d->d_tag != DT_NULL; d++) {
		if (d->d_tag == DT_GNU_HASH)
			table = (const void *)d->d_un.d_ptr;
		else if (d->d_tag == DT_SYMTAB)
			symbols = (const void *)d->d_un.d_ptr;
		else if (d->d_tag == DT_STRTAB)
			strings = (const void *)d->d_un.d_ptr;
	}
	if (!table || !symbols || !strings)
		return 0;
	symbol = find_in_table(table, symbols, strings, lookup->name);
	if (!symbol)
		return 0;
	lookup->found = (void *)(info->dlpi_addr + symbol->st_value);
	return 1;
}

/*
 * The loaded C++ runtime's own definition of a form, or NULL. Not dlsym: that may allocate, and it
 * does not see what was loaded with RTLD_LOCAL. dl_iterate_phdr does neither.
 */
__attribute__((cold, noinline)) static void *runtime_form(const char *name)
{
	struct lookup lookup = {.name = name};

	dl_iterate_phdr(find_in_object, &lookup);
	return lookup.found;
}

/* ---- The throwing forms ---- */

/* Rule 3. Everything is bound. */
static void *retry_with_handler(size_t size, size_t align)
{
	for (;;) {
		new_handler *handler = get_new_handler();
		void *p;

		if (!handler)
			throw_bad_alloc();
		handler();
		p = alloc_aligned(size, align);
		if (p)
			return p;
	}
}

__attribute__((noreturn)) static void die_uncatchable(size_t size)
{
	sys_fatal("operator new", (const void *)size, "no memory and no C++ runtime to throw with");
}

__attribute__((cold, noinline)) static void *new_slow(size_t size)
{
	void *(*form)(size_t size);

	if (get_new_handler && throw_bad_alloc)
		return retry_with_handler(size, CELL_ALIGN);
	form = (void *(*)(size_t))runtime_form("_Znwm");
	if (!form)
		die_uncatchable(size);
	return form(size);
}

static bool is_power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

__attribute__((cold, noinline)) static void *new_aligned_slow(size_t size, size_t align)
{
	void *(*form)(size_t size, size_t align);

	if (get_new_handler && throw_bad_alloc) {
		if (!is_power_of_two(align))
			throw_bad_alloc();
		return retry_with_handler(size, align);
	}
	form = (void *(*)(size_t, size_t))runtime_form("_ZnwmSt11align_val_t");
	if (!form)
		die_uncatchable(size);
	return form(size, align);
}

REPLACEABLE void *operator_new(size_t size)
{
	void *p = alloc(size);

	return p ? p : new_slow(size);
}

REPLACEABLE void *operator_new_aligned(size_t size, size_t align)
{
	void *p = is_power_of_two(align) ? alloc_aligned(size, align) : NULL;

	return p ? p : new_aligned_slow(size, align);
}

REPLACEABLE void *operator_new_array(size_t size)
{
	return operator_new(size);
}

REPLACEABLE void *operator_new_array_aligned(size_t size, size_t align)
{
	return operator_new_aligned(size, align);
}

/* ---- The nothrow forms (rule 5) ---- */

/* The borders of the object this file was linked into. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

/* Did the dynamic linker bind the form to this file's own definition? */
static bool is_ours(uintptr_t form)
{
	return form >= (uintptr_t)__ehdr_start && form < (uintptr_t)_end;
}

/* Our own form got no memory: is there anything left to try but to return NULL? */
static bool may_have_handler(void)
{
	return !get_new_handler || get_new_handler();
}

/*
 * Let the runtime do it. Without a runtime there is no handler and no exception of the library's,
 * so what is left is the program's own throwing form, if it has one.
 */
__attribute__((cold, noinline)) static void *
nothrow_slow(const char *name, size_t size, const void *tag, void *(*programs_own)(size_t size))
{
	void *(*form)(size_t size, const void *tag);

	form = (void *(*)(size_t, const void *))runtime_form(name);
	if (form)
		return form(size, tag);
	return programs_own ? programs_own(size) : NULL;
}

__attribute__((cold, noinline)) static void *
aligned_nothrow_slow(const char *name, size_t size, size_t align, const void *tag,
		     void *(*programs_own)(size_t size, size_t align))
{
	void *(*form)(size_t size, size_t align, const void *tag);

	form = (void *(*)(size_t, size_t, const void *))runtime_form(name);
	if (form)
		return form(size, align, tag);
	return programs_own ? programs_own(size, align) : NULL;
}

void *operator_new_nothrow(size_t size, const void *tag)
{
	bool ours = is_ours((uintptr_t)operator_new);

	if (ours) {
		void *p = alloc(size);

		if (p || !may_have_handler())
			return p;
	}
	return nothrow_slow("_ZnwmRKSt9nothrow_t", size, tag, ours ? NULL : operator_new);
}

void *operator_new_array_nothrow(size_t size, const void *tag)
{
	bool ours = is_ours((uintptr_t)operator_new_array) && is_ours((uintptr_t)operator_new);

	if (ours) {
		void *p = alloc(size);

		if (p || !may_have_handler())
			return p;
	}
	return nothrow_slow("_ZnamRKSt9nothrow_t", size, tag, ours ? NULL : operator_new_array);
}

void *operator_new_aligned_nothrow(size_t size, size_t align, const void *tag)
{
	bool ours = is_ours((uintptr_t)operator_new_aligned);

	if (ours) {
		void *p = is_power_of_two(align) ? alloc_aligned(size, align) : NULL;

		if (p || !is_power_of_two(align) || !may_have_handler())
			return p;
	}
	return aligned_nothrow_slow("_ZnwmSt11align_val_tRKSt9nothrow_t", size, align, tag,
				    ours ? NULL : operator_new_aligned);
}

void *operator_new_array_aligned_nothrow(size_t size, size_t align, const void *tag)
{
	bool ours = is_ours((uintptr_t)operator_new_array_aligned) &&
		    is_ours((uintptr_t)operator_new_aligned);

	if (ours) {
		void *p = is_power_of_two(align) ? alloc_aligned(size, align) : NULL;

		if (p || !is_power_of_two(align) || !may_have_handler())
			return p;
	}
	return aligned_nothrow_slow("_ZnamSt11align_val_tRKSt9nothrow_t", size, align, tag,
				    ours ? NULL : operator_new_array_aligned);
}

/* ---- The deletes ---- */

/*
 * What a delete is told of its block is compared with the block while the forms that it goes to are
 * ours; else they alone know what they gave. The checks are for what does not agree at first sight.
 */

static __attribute__((noinline)) void release_checked(void *p, size_t size)
{
	if (p && is_ours((uintptr_t)operator_new) && is_ours((uintptr_t)operator_new_array))
		tcache_check_size("operator delete", p, size, false);
	release_slow(p);
}

static bool makes_aligned(void)
{
	return is_ours((uintptr_t)operator_new_aligned) &&
	       is_ours((uintptr_t)operator_new_array_aligned);
}

static __attribute__((noinline)) void release_checked_aligned(void *p, size_t size, size_t align)
{
	if (p && makes_aligned())
		tcache_check_aligned("operator delete", p, size, align);
	release_slow(p);
}

static __attribute__((noinline)) void release_checked_align(void *p, size_t align)
{
	if (p && makes_aligned())
		tcache_check_align("operator delete", p, align);
	release_slow(p);
}

REPLACEABLE void operator_delete(void *p)
{
	release(p);
}

REPLACEABLE void operator_delete_aligned(void *p, size_t align)
{
	if (__builtin_expect(tcache_has_align(p, align), 1))
		release(p);
	else
		release_checked_align(p, align);
}

REPLACEABLE void operator_delete_array(void *p)
{
	operator_delete(p);
}

REPLACEABLE void operator_delete_array_aligned(void *p, size_t align)
{
	operator_delete_aligned(p, align);
}

static inline __attribute__((always_inline)) void release_sized(void *p, size_t size)
{
	if (__builtin_expect(tcache_has_size(p, size), 1))
		release(p);
	else
		release_checked(p, size);
}

static inline __attribute__((always_inline)) void release_sized_aligned(void *p, size_t size,
									size_t align)
{
	if (__builtin_expect(tcache_has_aligned(p, size, align), 1))
		release(p);
	else
		release_checked_aligned(p, size, align);
}

void operator_delete_sized(void *p, size_t size)
{
	if (__builtin_expect(is_ours((uintptr_t)operator_delete), 1))
		release_sized(p, size);
	else
		operator_delete(p);
}

void operator_delete_array_sized(void *p, size_t size)
{
	if (__builtin_expect(is_ours((uintptr_t)operator_delete_array) &&
				     is_ours((uintptr_t)operator_delete),
			     1))
		release_sized(p, size);
	else
		operator_delete_array(p);
}

void operator_delete_sized_aligned(void *p, size_t size, size_t align)
{
	if (__builtin_expect(is_ours((uintptr_t)operator_delete_aligned), 1))
		release_sized_aligned(p, size, align);
	else
		operator_delete_aligned(p, align);
}

void operator_delete_array_sized_aligned(void *p, size_t size, size_t align)
{
	if (__builtin_expect(is_ours((uintptr_t)operator_delete_array_aligned) &&
				     is_ours((uintptr_t)operator_delete_aligned),
			     1))
		release_sized_aligned(p, size, align);
	else
		operator_delete_array_aligned(p, align);
}

void operator_delete_nothrow(void *p, const void *tag)
{
	(void)tag;
	operator_delete(p);
}

void operator_delete_array_nothrow(void *p, const void *tag)
{
	(void)tag;
	operator_delete_array(p);
}

void operator_delete_aligned_nothrow(void *p, size_t align, const void *tag)
{
	(void)tag;
	operator_delete_aligned(p, align);
}

void operator_delete_array_aligned_nothrow(void *p, size_t align, const void *tag)
{
	(void)tag;
	operator_delete_array_aligned(p, align);
}
