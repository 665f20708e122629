// SPDX-License-Identifier: BSD-3-Clause

/*
 * The 20 replaceable forms of C++ operator new and delete, from C.
 *
 * 1. Four forms do the work: new, aligned new, delete, aligned delete. Every other form forwards to
 *    the one that the C++ standard specifies, through the dynamic linker, as in libstdc++. So if a
 *    program replaces only new(size_t) and delete(void *), all other forms use its pair. A form
 *    that is bound to ours takes the fast path.
 * 2. Memory comes from tcache_alloc and returns to tcache_free, so the forms may be mixed with
 *    malloc and free. A bad pointer is reported with the name of the form that did the work:
 *    "operator delete".
 * 3. When memory is exhausted, a throwing form calls the new-handler and retries until there is no
 *    handler. Then it throws std::bad_alloc. Both use weak references to libstdc++, which this
 *    library does not link.
 * 4. The references are unbound if the C++ runtime was loaded by dlopen (a C++ plugin of a C
 *    program) or is not libstdc++. Then the form of the loaded runtime does the rest. It calls
 *    malloc, which is ours and fails again, and then its own handler and exception. If there is no
 *    runtime, the failure is fatal: no code could catch an exception.
 * 5. A nothrow form must return NULL when the new-handler throws. C cannot catch. So if a handler
 *    is installed or the program replaces new, the runtime's nothrow form is called as in 4: it
 *    calls the throwing form and catches.
 *
 * Any thread may call these functions. This file is compiled with -fexceptions and holds no lock
 * during a call to a handler, so exceptions may pass through it.
 */

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cache/tcache.h"
#include "elf_symbol.h"
#include "helpers.h"
#include "record.h"

/*
 * Start the definition of a form with the mangled name SYMBOL. It is never inlined into the forms
 * that forward to it, because a program may replace it.
 */
#define FORM(symbol, result, name, ...)                                                            \
	EXPORT NOINLINE result name(__VA_ARGS__) __asm__(symbol);                                  \
	result name(__VA_ARGS__)

/* std::get_new_handler() and std::__throw_bad_alloc() of libstdc++, or NULL. */
typedef void new_handler(void);
extern new_handler *get_new_handler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv")
	__attribute__((weak, noreturn));

/* std::align_val_t is passed as a size_t, const std::nothrow_t & as a pointer. */
typedef void *new_form(size_t size);
typedef void *aligned_form(size_t size, size_t align);
typedef void *nothrow_form(size_t size, const void *tag);
typedef void *aligned_nothrow_form(size_t size, size_t align, const void *tag);

/* ---- Memory ---- */

static INLINE void *alloc_slow(size_t size)
{
	return alloc_rest(TRACE_NEW, size);
}

static NOINLINE void *alloc_wide(size_t size)
{
	return tcache_alloc_wide_or(size, alloc_slow);
}

static INLINE void *alloc(size_t size)
{
	return tcache_alloc_or(size, alloc_wide);
}

static void *alloc_at(size_t size, size_t align)
{
	return is_power_of_two(align) ? alloc_aligned(TRACE_NEW, size, align) : NULL;
}

static NOINLINE void release_slow(void *p)
{
	note_call_site();
	free_rest("operator delete", TRACE_DELETE, p, 0, 0);
}

static INLINE void release(void *p)
{
	if (unlikely(!tcache_put(p)))
		release_slow(p);
}

/* ---- The forms of the runtime: rules 4 and 5 ---- */

struct lookup {
	const char *symbol;
	void *found;
};

static bool is_cxx_runtime(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;

	return !strncmp(base, "libstdc++.so", 12) || !strncmp(base, "libc++.so", 9) ||
	       !strncmp(base, "libc++abi.so", 12);
}

static int find_in_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct lookup *lookup = arg;

	(void)size;
	if (is_cxx_runtime(info->dlpi_name))
		lookup->found = elf_symbol(info->dlpi_phdr, info->dlpi_phnum, info->dlpi_addr, true,
					   lookup->symbol);
	return !!lookup->found;
}

/*
 * The definition of a form in the loaded C++ runtime, or NULL. dlsym is not sufficient: it may
 * allocate, and it does not find objects that were loaded with RTLD_LOCAL.
 */
static COLD void *runtime_form(const char *symbol)
{
	struct lookup lookup = {.symbol = symbol};

	dl_iterate_phdr(find_in_object, &lookup);
	return lookup.found;
}

/*
 * The throwing forms: they never return NULL. Size 0 is a unique pointer; an alignment that is no
 * power of two is a failure; errno is not preserved.
 */

/* Rule 3. */
static void *retry_with_handler(size_t size, size_t align)
{
	new_handler *handler;
	void *p = NULL;

	while (!p && is_power_of_two(align) && (handler = get_new_handler())) {
		handler();
		p = alloc_at(size, align);
	}
	if (!p)
		throw_bad_alloc();
	return p;
}

static void *runtime_form_or_die(const char *symbol, size_t size)
{
	void *form = runtime_form(symbol);

	if (!form)
		sys_fatal("operator new", (const void *)size,
			  "no memory and no C++ runtime to throw with");
	return form;
}

static COLD void *new_slow(size_t size)
{
	if (get_new_handler && throw_bad_alloc)
		return retry_with_handler(size, CELL_ALIGN);
	return ((new_form *)runtime_form_or_die("_Znwm", size))(size);
}

static COLD void *new_aligned_slow(size_t size, size_t align)
{
	if (get_new_handler && throw_bad_alloc)
		return retry_with_handler(size, align);
	return ((aligned_form *)runtime_form_or_die("_ZnwmSt11align_val_t", size))(size, align);
}

FORM("_Znwm", void *, operator_new, size_t size)
{
	void *p = alloc(size);

	return p ? p : new_slow(size);
}

FORM("_ZnwmSt11align_val_t", void *, operator_new_aligned, size_t size, size_t align)
{
	void *p = alloc_at(size, align);

	return p ? p : new_aligned_slow(size, align);
}

FORM("_Znam", void *, operator_new_array, size_t size)
{
	return operator_new(size);
}

FORM("_ZnamSt11align_val_t", void *, operator_new_array_aligned, size_t size, size_t align)
{
	return operator_new_aligned(size, align);
}

/* ---- The nothrow forms: rule 5 ---- */

/* The bounds of the object that contains this file. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

/* Whether the dynamic linker bound the form to the definition in this file. */
#define IS_OURS(form) is_within((uintptr_t)(form))

static bool is_within(uintptr_t form)
{
	return form >= (uintptr_t)__ehdr_start && form < (uintptr_t)_end;
}

/* Whether a new-handler may be installed. If not, a nothrow form returns NULL at once. */
static bool may_have_handler(void)
{
	return !get_new_handler || get_new_handler();
}

/*
 * base is the form to forward to; is_ours: it is the one in this file. Without a runtime there is
 * no handler and no exception of the library, so base is the program's form.
 */
static INLINE void *new_nothrow(const char *symbol, new_form *base, bool is_ours, size_t size,
				const void *tag)
{
	void *p = is_ours ? alloc(size) : NULL;
	nothrow_form *form;

	if (is_ours && (p || !may_have_handler()))
		return p;
	form = (nothrow_form *)runtime_form(symbol);
	if (form)
		return form(size, tag);
	return is_ours ? NULL : base(size);
}

static void *new_aligned_nothrow(const char *symbol, aligned_form *base, bool is_ours, size_t size,
				 size_t align, const void *tag)
{
	void *p = is_ours ? alloc_at(size, align) : NULL;
	aligned_nothrow_form *form;

	if (is_ours && (p || !is_power_of_two(align) || !may_have_handler()))
		return p;
	form = (aligned_nothrow_form *)runtime_form(symbol);
	if (form)
		return form(size, align, tag);
	return is_ours ? NULL : base(size, align);
}

/*
 * The deletes. NULL is ignored and errno is preserved.
 *
 * A delete reports a size or an alignment that does not match the block, unless the program
 * replaces a form that the block may come from.
 */

static NOINLINE void release_checked(void *p, size_t size)
{
	note_call_site();
	if (p && IS_OURS(operator_new) && IS_OURS(operator_new_array) &&
	    !block_check_size("operator delete", p, size, false))
		return;
	release_slow(p);
}

static bool makes_aligned(void)
{
	return IS_OURS(operator_new_aligned) && IS_OURS(operator_new_array_aligned);
}

static NOINLINE void release_checked_aligned(void *p, size_t size, size_t align)
{
	note_call_site();
	if (p && makes_aligned() && !block_check_aligned("operator delete", p, size, align))
		return;
	release_slow(p);
}

static NOINLINE void release_checked_align(void *p, size_t align)
{
	note_call_site();
	if (p && makes_aligned() && !block_check_align("operator delete", p, align))
		return;
	release_slow(p);
}

FORM("_ZdlPv", void, operator_delete, void *p)
{
	release(p);
}

FORM("_ZdlPvSt11align_val_t", void, operator_delete_aligned, void *p, size_t align)
{
	if (likely(tcache_has_align(p, align)))
		release(p);
	else
		release_checked_align(p, align);
}

FORM("_ZdaPv", void, operator_delete_array, void *p)
{
	operator_delete(p);
}

FORM("_ZdaPvSt11align_val_t", void, operator_delete_array_aligned, void *p, size_t align)
{
	operator_delete_aligned(p, align);
}

/* base is the form to forward to; is_ours: it is the one in this file. */

static INLINE void delete_sized(void (*base)(void *p), bool is_ours, void *p, size_t size)
{
	if (unlikely(!is_ours))
		base(p);
	else if (likely(tcache_has_size(p, size)))
		release(p);
	else
		release_checked(p, size);
}

static INLINE void delete_sized_aligned(void (*base)(void *p, size_t align), bool is_ours, void *p,
					size_t size, size_t align)
{
	if (unlikely(!is_ours))
		base(p, align);
	else if (likely(tcache_has_aligned(p, size, align)))
		release(p);
	else
		release_checked_aligned(p, size, align);
}

/*
 * The other forms, for objects and for arrays; KIND ends their names here. n and d start the
 * mangled names of new and delete. The compiler calls a nothrow delete when a constructor throws in
 * a nothrow new.
 */
#define OTHER_FORMS(kind, n, d)                                                                    \
	FORM(n "RKSt9nothrow_t", void *, operator_new##kind##_nothrow, size_t size,                \
	     const void *tag)                                                                      \
	{                                                                                          \
		return new_nothrow(n "RKSt9nothrow_t", operator_new##kind,                         \
				   IS_OURS(operator_new##kind) && IS_OURS(operator_new), size,     \
				   tag);                                                           \
	}                                                                                          \
	FORM(n "St11align_val_tRKSt9nothrow_t", void *, operator_new##kind##_aligned_nothrow,      \
	     size_t size, size_t align, const void *tag)                                           \
	{                                                                                          \
		return new_aligned_nothrow(                                                        \
			n "St11align_val_tRKSt9nothrow_t", operator_new##kind##_aligned,           \
			IS_OURS(operator_new##kind##_aligned) && IS_OURS(operator_new_aligned),    \
			size, align, tag);                                                         \
	}                                                                                          \
	FORM(d "m", void, operator_delete##kind##_sized, void *p, size_t size)                     \
	{                                                                                          \
		delete_sized(operator_delete##kind,                                                \
			     IS_OURS(operator_delete##kind) && IS_OURS(operator_delete), p, size); \
	}                                                                                          \
	FORM(d "mSt11align_val_t", void, operator_delete##kind##_sized_aligned, void *p,           \
	     size_t size, size_t align)                                                            \
	{                                                                                          \
		delete_sized_aligned(operator_delete##kind##_aligned,                              \
				     IS_OURS(operator_delete##kind##_aligned) &&                   \
					     IS_OURS(operator_delete_aligned),                     \
				     p, size, align);                                              \
	}                                                                                          \
	FORM(d "RKSt9nothrow_t", void, operator_delete##kind##_nothrow, void *p, const void *tag)  \
	{                                                                                          \
		(void)tag;                                                                         \
		operator_delete##kind(p);                                                          \
	}                                                                                          \
	FORM(d "St11align_val_tRKSt9nothrow_t", void, operator_delete##kind##_aligned_nothrow,     \
	     void *p, size_t align, const void *tag)                                               \
	{                                                                                          \
		(void)tag;                                                                         \
		operator_delete##kind##_aligned(p, align);                                         \
	}

OTHER_FORMS(, "_Znwm", "_ZdlPv")
OTHER_FORMS(_array, "_Znam", "_ZdaPv")
