// SPDX-License-Identifier: BSD-3-Clause

#include "objects.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "osmem.h"

#define MAX_FREERS 4

bool objects_may_fail;

/* C23, not yet in glibc's headers. */
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

/* The C++ operators, from C. A const std::nothrow_t & is a pointer. */
void *new_plain(size_t size) __asm__("_Znwm");
void *new_array(size_t size) __asm__("_Znam");
void *new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
void *new_array_aligned(size_t size, size_t align) __asm__("_ZnamSt11align_val_t");
void *new_nothrow(size_t size, const void *tag) __asm__("_ZnwmRKSt9nothrow_t");
void *new_array_nothrow(size_t size, const void *tag) __asm__("_ZnamRKSt9nothrow_t");
void *new_aligned_nothrow(size_t size, size_t align,
			  const void *tag) __asm__("_ZnwmSt11align_val_tRKSt9nothrow_t");
void *new_array_aligned_nothrow(size_t size, size_t align,
				const void *tag) __asm__("_ZnamSt11align_val_tRKSt9nothrow_t");
void delete_plain(void *p) __asm__("_ZdlPv");
void delete_array(void *p) __asm__("_ZdaPv");
void delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t");
void delete_array_aligned(void *p, size_t align) __asm__("_ZdaPvSt11align_val_t");
void delete_sized(void *p, size_t size) __asm__("_ZdlPvm");
void delete_array_sized(void *p, size_t size) __asm__("_ZdaPvm");
void delete_sized_aligned(void *p, size_t size, size_t align) __asm__("_ZdlPvmSt11align_val_t");
void delete_array_sized_aligned(void *p, size_t size,
				size_t align) __asm__("_ZdaPvmSt11align_val_t");
void delete_nothrow(void *p, const void *tag) __asm__("_ZdlPvRKSt9nothrow_t");
void delete_array_nothrow(void *p, const void *tag) __asm__("_ZdaPvRKSt9nothrow_t");
void delete_aligned_nothrow(void *p, size_t align,
			    const void *tag) __asm__("_ZdlPvSt11align_val_tRKSt9nothrow_t");
void delete_array_aligned_nothrow(void *p, size_t align,
				  const void *tag) __asm__("_ZdaPvSt11align_val_tRKSt9nothrow_t");

/* Makers, all of one signature. */

#define MAKER(name, call)                                                                          \
	static void *make_##name(size_t size, size_t align)                                        \
	{                                                                                          \
		(void)align;                                                                       \
		return call;                                                                       \
	}

MAKER(os_malloc, os_malloc(size))
MAKER(os_calloc, os_calloc(size ? 1 : 0, size))
MAKER(os_realloc, os_realloc(NULL, size))
MAKER(malloc, malloc(size))
MAKER(calloc, size % 8 ? calloc(size, 1) : calloc(size / 8, 8))
MAKER(realloc, realloc(NULL, size))
MAKER(reallocarray, size % 4 ? reallocarray(NULL, 1, size) : reallocarray(NULL, size / 4, 4))
MAKER(aligned_alloc, aligned_alloc(align, size))
MAKER(memalign, memalign(align, size))
MAKER(valloc, valloc(size))
MAKER(pvalloc, pvalloc(size))
MAKER(new, new_plain(size))
MAKER(new_array, new_array(size))
MAKER(new_aligned, new_aligned(size, align))
MAKER(new_array_aligned, new_array_aligned(size, align))
MAKER(new_nothrow, new_nothrow(size, NULL))
MAKER(new_array_nothrow, new_array_nothrow(size, NULL))
MAKER(new_aligned_nothrow, new_aligned_nothrow(size, align, NULL))
MAKER(new_array_aligned_nothrow, new_array_aligned_nothrow(size, align, NULL))

static void *make_posix_memalign(size_t size, size_t align)
{
	void *p = NULL;
	int error = posix_memalign(&p, align, size);

	if (error)
		errno = error;
	return p;
}

/* Freers, all of one signature. */

#define FREER(name, call)                                                                          \
	static void free_by_##name(const struct object *o)                                         \
	{                                                                                          \
		call;                                                                              \
	}

FREER(os_free, os_free(o->p))
FREER(free, free(o->p))
FREER(free_sized, free_sized(o->p, o->size))
FREER(free_aligned_sized, free_aligned_sized(o->p, o->align, o->size))
FREER(delete, delete_plain(o->p))
FREER(delete_array, delete_array(o->p))
FREER(delete_aligned, delete_aligned(o->p, o->align))
FREER(delete_array_aligned, delete_array_aligned(o->p, o->align))
FREER(delete_sized, delete_sized(o->p, o->size))
FREER(delete_array_sized, delete_array_sized(o->p, o->size))
FREER(delete_sized_aligned, delete_sized_aligned(o->p, o->size, o->align))
FREER(delete_array_sized_aligned, delete_array_sized_aligned(o->p, o->size, o->align))
FREER(delete_nothrow, delete_nothrow(o->p, NULL))
FREER(delete_array_nothrow, delete_array_nothrow(o->p, NULL))
FREER(delete_aligned_nothrow, delete_aligned_nothrow(o->p, o->align, NULL))
FREER(delete_array_aligned_nothrow, delete_array_aligned_nothrow(o->p, o->align, NULL))

static void free_by_os_realloc(const struct object *o)
{
	if (o->p && os_realloc(o->p, 0))
		finding("os_realloc(%p, 0) is not NULL", (void *)o->p);
}

static void free_by_realloc(const struct object *o)
{
	if (realloc(o->p, 0))
		finding("realloc(%p, 0) is not NULL", (void *)o->p);
}

/* Which functions go together. */

enum kind {
	PLAIN,
	ZEROED,
	ALIGNED, /* as the caller says */
	PAGED, /* to a page */
};

struct form {
	const char *name;
	enum family family;
	enum kind kind;
	bool can_resize;
	void *(*make)(size_t size, size_t align);
	void (*freers[MAX_FREERS])(const struct object *o); /* up to the first NULL */
};

#define COURSE(maker, which)                                                                       \
	{                                                                                          \
		.name = #maker, .family = FAMILY_COURSE, .kind = (which), .can_resize = true,      \
		.make = make_##maker, .freers = {free_by_os_free, free_by_os_realloc},             \
	}

#define LIBC(maker, which, ...)                                                                    \
	{                                                                                          \
		.name = #maker, .family = FAMILY_LIBC, .kind = (which), .can_resize = true,        \
		.make = make_##maker, .freers = {free_by_free, free_by_realloc, __VA_ARGS__},      \
	}

#define CXX(maker, which, ...)                                                                     \
	{                                                                                          \
		.name = #maker, .family = FAMILY_CXX, .kind = (which), .make = make_##maker,       \
		.freers = {__VA_ARGS__},                                                           \
	}

static const struct form forms[] = {
	COURSE(os_malloc, PLAIN),
	COURSE(os_calloc, ZEROED),
	COURSE(os_realloc, PLAIN),
	LIBC(malloc, PLAIN, free_by_free_sized),
	LIBC(calloc, ZEROED, free_by_free_sized),
	LIBC(realloc, PLAIN, free_by_free_sized),
	LIBC(reallocarray, PLAIN, free_by_free_sized),
	LIBC(aligned_alloc, ALIGNED, free_by_free_aligned_sized),
	LIBC(memalign, ALIGNED, free_by_free),
	LIBC(posix_memalign, ALIGNED, free_by_free),
	LIBC(valloc, PAGED, free_by_free),
	LIBC(pvalloc, PAGED, free_by_free),
	CXX(new, PLAIN, free_by_delete, free_by_delete_sized, free_by_delete_nothrow),
	CXX(new_nothrow, PLAIN, free_by_delete, free_by_delete_sized, free_by_delete_nothrow),
	CXX(new_array, PLAIN, free_by_delete_array, free_by_delete_array_sized,
	    free_by_delete_array_nothrow),
	CXX(new_array_nothrow, PLAIN, free_by_delete_array, free_by_delete_array_sized,
	    free_by_delete_array_nothrow),
	CXX(new_aligned, ALIGNED, free_by_delete_aligned, free_by_delete_sized_aligned,
	    free_by_delete_aligned_nothrow),
	CXX(new_aligned_nothrow, ALIGNED, free_by_delete_aligned, free_by_delete_sized_aligned,
	    free_by_delete_aligned_nothrow),
	CXX(new_array_aligned, ALIGNED, free_by_delete_array_aligned,
	    free_by_delete_array_sized_aligned, free_by_delete_array_aligned_nothrow),
	CXX(new_array_aligned_nothrow, ALIGNED, free_by_delete_array_aligned,
	    free_by_delete_array_sized_aligned, free_by_delete_array_aligned_nothrow),
};

enum family object_family(const struct object *o)
{
	return forms[o->form].family;
}

/* A block that realloc has moved is realloc's, whoever made it: other freers go with it. */
static unsigned int form_of_realloc(void)
{
	unsigned int form = 0;

	while (forms[form].make != make_realloc)
		form++;
	return form;
}

/* The commonest functions get half of the calls. */
static unsigned int choose_form(enum family family, uint64_t *random)
{
	bool is_common = random_below(random, 2);
	unsigned int form;

	do {
		form = (unsigned int)random_below(random, COUNT_OF(forms));
	} while (forms[form].family != family || (is_common && forms[form].kind >= ALIGNED));
	return form;
}

/* Contents: all bytes of small objects and both ends of others, and a word now and then between. */

#define DENSE ((size_t)128)
#define STRIDE ((size_t)1016) /* several words a page, at different places */

static uint64_t word_of(uint64_t cookie, size_t at)
{
	return (cookie + at) * 0x9e3779b97f4a7c15;
}

static size_t next_word(size_t at, size_t size)
{
	size_t next = at + 8;

	if (next < DENSE || next + DENSE >= size)
		return next;
	next = at + STRIDE;
	return next + DENSE < size ? next : size - DENSE;
}

static void write_cookie(struct object *o, size_t filled, uint64_t *random)
{
	o->filled = filled;
	o->cookie = random_next(random);
	for (size_t at = 0; at < filled; at = next_word(at, filled)) {
		uint64_t word = word_of(o->cookie, at);

		memcpy(o->p + at, &word, filled - at < 8 ? filled - at : 8);
	}
}

/* The first keep bytes at p hold what o was filled with. */
static void check_kept(const struct object *o, const unsigned char *p, size_t keep)
{
	if (keep > o->filled)
		keep = o->filled;
	for (size_t at = 0; at < keep; at = next_word(at, o->filled)) {
		uint64_t word = word_of(o->cookie, at);

		if (memcmp(p + at, &word, keep - at < 8 ? keep - at : 8) != 0)
			finding("byte %zu or the next of %zu at %p, from %s(%zu), have changed", at,
				o->filled, (const void *)p, forms[o->form].name, o->size);
	}
}

static void check_zero(const struct object *o)
{
	size_t dense = o->size < 32768 ? o->size : DENSE;

	for (size_t at = 0; at < o->size; at = at < dense ? at + 1 : next_word(at, o->size))
		if (o->p[at])
			finding("byte %zu of %zu at %p is not zero", at, o->size, (void *)o->p);
}

/* What a pointer must be, whatever call gave it. */
static void check_pointer(const struct object *o, const char *call)
{
	if (!o->p && (o->size || object_family(o) != FAMILY_COURSE))
		finding("%s(%zu), aligned to %zu: NULL, %s", call, o->size, o->align,
			strerror(errno));
	if (!o->size && o->p && object_family(o) == FAMILY_COURSE)
		finding("%s(0) is not NULL", call);
	if ((uintptr_t)o->p % o->align)
		finding("%s(%zu) is %p, which is not aligned to %zu", call, o->size, (void *)o->p,
			o->align);
}

static size_t usable(const struct object *o)
{
	return object_family(o) == FAMILY_COURSE ? o->size : malloc_usable_size(o->p);
}

static size_t choose_align(const struct form *form, uint64_t *random)
{
	switch (form->kind) {
	case PAGED:
		return 4096;
	case ALIGNED: /* mostly small ones */
		return (size_t)8 << random_below(random, 1 + random_below(random, 14));
	default:
		return form->family == FAMILY_COURSE ? 8 : 16;
	}
}

unsigned int objects_forms(void)
{
	return COUNT_OF(forms);
}

/* Is NULL nobody's fault? C++'s throwing operators would throw. */
static bool is_refused(const struct object *o)
{
	return objects_may_fail && !o->p && o->size && errno == ENOMEM;
}

bool object_make(struct object *o, unsigned int form_nr, size_t size, uint64_t *random)
{
	const struct form *form = &forms[form_nr];

	if (objects_may_fail && form->family == FAMILY_CXX)
		return false;
	*o = (struct object){.form = form_nr, .size = size, .align = choose_align(form, random)};
	o->p = form->make(size, o->align);
	if (is_refused(o))
		return false;
	check_pointer(o, form->name);
	if (form->kind == ZEROED)
		check_zero(o);
	if (usable(o) < size)
		finding("%zu bytes of %zu are usable, from %s", usable(o), size, form->name);
	write_cookie(o, size, random);
	return true;
}

void object_get(struct object *o, enum family family, size_t size, uint64_t *random)
{
	object_make(o, choose_form(family, random), size, random);
}

static void *call_realloc(void *p, size_t size, bool is_course, bool is_array)
{
	if (is_course)
		return os_realloc(p, size);
	return is_array ? reallocarray(p, 1, size) : realloc(p, size);
}

void object_resize(struct object *o, size_t size, uint64_t *random)
{
	struct object old = *o;
	bool is_course = object_family(o) == FAMILY_COURSE;

	object_check(o);
	if (!forms[o->form].can_resize || size == 0)
		return;
	o->size = size;
	o->align = is_course ? 8 : 16;
	o->p = call_realloc(o->p, size, is_course, random_below(random, 4) == 0);
	if (is_refused(o)) {
		*o = old;
		object_check(o);
		return;
	}
	check_pointer(o, is_course ? "os_realloc" : "realloc");
	check_kept(&old, o->p, size);
	if (!is_course)
		o->form = form_of_realloc();
	write_cookie(o, size, random);
}

void object_check(const struct object *o)
{
	check_kept(o, o->p, o->filled);
}

void object_renew(struct object *o, uint64_t *random)
{
	object_check(o);
	write_cookie(o, random_below(random, 2) ? usable(o) : o->size, random);
}

void object_drop(struct object *o, uint64_t *random)
{
	const struct form *form = &forms[o->form];
	size_t choices = 1;
	int saved = (int)random_below(random, 100);

	object_check(o);
	while (choices < MAX_FREERS && form->freers[choices])
		choices++;
	errno = saved;
	form->freers[random_below(random, choices)](o);
	if (errno != saved)
		finding("a function that frees, of %s's, has changed errno to %d", form->name,
			errno);
	o->p = NULL;
}

static void expect_refused(const char *call, const void *p, int error)
{
	if (p || errno != error)
		finding("%s: %p, errno %d, where NULL and %d are due", call, p, errno, error);
	errno = 0;
}

void objects_refused(uint64_t *random)
{
	volatile size_t huge = (size_t)PTRDIFF_MAX + 1 + random_below(random, PTRDIFF_MAX);
	volatile size_t half = (size_t)1 << 33, odd = 24;
	void *p = malloc(24), *kept = p, *out = p;

	if (!p)
		finding("malloc(24): NULL");
	memset(p, 0x5a, 24);
	errno = 0;
	expect_refused("malloc", malloc(huge), ENOMEM);
	expect_refused("calloc", calloc(half, half), ENOMEM);
	expect_refused("realloc", realloc(p, huge), ENOMEM);
	expect_refused("reallocarray", reallocarray(p, half, half), ENOMEM);
	expect_refused("os_malloc", os_malloc(huge), ENOMEM);
	expect_refused("os_calloc", os_calloc(half, half), ENOMEM);
	expect_refused("aligned_alloc", aligned_alloc(odd, 24), EINVAL);
	expect_refused("aligned_alloc", aligned_alloc(64, huge), ENOMEM);
	expect_refused("valloc", valloc(huge), ENOMEM);
	expect_refused("pvalloc", pvalloc(huge), ENOMEM);
	if (new_nothrow(huge, NULL))
		finding("a nothrow new of too much is not refused");
	if (posix_memalign(&out, odd, 24) != EINVAL || out != kept)
		finding("posix_memalign(24) is not refused");
	if (posix_memalign(&out, 64, huge) != ENOMEM || out != kept)
		finding("posix_memalign of too much is not refused");
	for (size_t i = 0; i < 24; i++)
		if (((unsigned char *)p)[i] != 0x5a)
			finding("a refused realloc has changed the block");
	free(p);
}
