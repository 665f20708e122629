// SPDX-License-Identifier: BSD-3-Clause

/*
 * The roots of a search for leaks.
 *
 * 1. Registers of all threads.
 * 2. Stacks of live threads, from the stack pointer on. Below it, and on the stacks of ended
 *    threads, which libc keeps for later ones, are stale pointers.
 * 3. All other readable memory but the heaps and what this search made: variables of all objects,
 *    with thread-local ones; what the program and its libraries have mapped, as code generators and
 *    allocators of their own do, and stacks that libc does not know. Not read are devices, shared
 *    files, and pages that were never touched, or never changed since they were read from a file.
 */

#include <string.h>

#include "handler.h"
#include "helpers.h"
#include "leaks_core.h"
#include "proc.h"

#define RED_ZONE 128 /* below the stack pointer, used by functions that call no other */
#define SELF_ALIGN 64 /* of what pthread_self() points to */
#define SELF_REACH (16 * KIB) /* from the end of a stack */

struct roots {
	struct leaks_search *s;
	uintptr_t guard_end; /* of the mapping before, if it is inaccessible */
	size_t hole; /* the first that does not end before the current mapping */
};

static bool has(const struct proc_mapping *m, uintptr_t p)
{
	return p - m->start < m->end - m->start;
}

/* ---- Stacks ---- */

/* What is known of the threads that use a mapping. */
struct tenants {
	size_t stacks, selves; /* stack pointers in it, and thread descriptors */
	uintptr_t lowest; /* of these stack pointers */
};

static void add_tenant(struct tenants *n, const struct stopped_thread *t,
		       const struct proc_mapping *m)
{
	n->selves += has(m, t->self);
	if (!has(m, t->stack))
		return;
	n->stacks++;
	if (!n->lowest || t->stack < n->lowest)
		n->lowest = t->stack;
}

static struct tenants find_tenants(const struct leaks_search *s, const struct proc_mapping *m)
{
	struct tenants n = {0};

	add_tenant(&n, &s->own, m);
	for (size_t i = 0; i < s->stop.count; i++)
		if (s->stop.threads[i].id)
			add_tenant(&n, &s->stop.threads[i], m);
	return n;
}

/* A stack that is searched for the descriptor of its thread, which is 0 if there is none. */
struct stack_search {
	const struct proc_mapping *m;
	uintptr_t descriptor;
};

/*
 * The descriptor of a thread is at the end of the stack that libc has made for it. Its first and
 * third words are its own address: on x86_64 compilers and libc rely on them.
 */
static void find_descriptor(void *arg)
{
	struct stack_search *c = arg;
	uintptr_t at = (c->m->end - SELF_ALIGN) & ~(uintptr_t)(SELF_ALIGN - 1);

	for (; at >= c->m->start && c->m->end - at < SELF_REACH; at -= SELF_ALIGN) {
		const uintptr_t *words = (const uintptr_t *)at;

		if (words[0] == at && words[2] == at) {
			c->descriptor = at;
			return;
		}
	}
}

/*
 * The second word of a descriptor leads to a table of the thread's dynamic blocks of variables.
 * libc frees these when it uses the stack again. So they are no leaks, but nor are they roots.
 */
static void keep_variables(struct leaks_search *s, uintptr_t descriptor)
{
	leaks_scan(s, descriptor + WORD, descriptor + 2 * WORD);
	if (s->pending_count) {
		uintptr_t table = leaks_block_start(s, s->pending[0]);

		leaks_scan(s, table, table + s->runs[s->pending[0].run].size);
	}
	s->pending_count = 0;
}

/*
 * Whether m is the stack of an ended thread. If a thread did not stop, it may be that one's. In a
 * forked child, the stacks of its parent's threads are all that leads to their blocks.
 */
static bool is_ended(struct leaks_search *s, const struct proc_mapping *m)
{
	struct stack_search c = {.m = m};

	if (s->stop.running || s->is_inherited || !m->is_writable || m->is_shared ||
	    *m->name == '/')
		return false;
	fault_try(find_descriptor, &c);
	if (c.descriptor)
		keep_variables(s, c.descriptor);
	return c.descriptor;
}

static bool has_main_thread(const struct leaks_search *s)
{
	uint32_t main = sys_process();

	if (s->own.id == main || s->stop.running)
		return true;
	for (size_t i = 0; i < s->stop.count; i++)
		if (s->stop.threads[i].id == main)
			return true;
	return false;
}

/* Where the roots in m begin; its end, if it has none. Stacks that libc makes follow a guard. */
static uintptr_t first_root(struct leaks_search *s, const struct proc_mapping *m,
			    bool follows_guard)
{
	struct tenants n = find_tenants(s, m);

	if (strcmp(m->name, "[stack]") == 0) {
		if (n.stacks)
			return n.lowest - RED_ZONE;
		return has_main_thread(s) ? m->start : m->end;
	}
	if (!follows_guard || n.stacks > 1 || n.selves > 1)
		return m->start;
	if (n.stacks && n.selves)
		return n.lowest - RED_ZONE;
	return !n.stacks && !n.selves && is_ended(s, m) ? m->end : m->start;
}

/* ---- Mappings ---- */

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* Rule 3. The kernel's own pages are "[vvar]" and the like. */
static bool is_root(const struct leaks_search *s, const struct proc_mapping *m)
{
	if (!m->is_readable || (s->pages < 0 && !m->is_writable) || begins(m->name, "[v"))
		return false;
	if (begins(m->name, "/dev/zero") || begins(m->name, "/memfd:"))
		return true;
	return !m->is_shared && !begins(m->name, "/dev/");
}

/* Scan [from, to) without the holes. */
static void scan_around_holes(struct roots *r, uintptr_t from, uintptr_t to, bool is_shared)
{
	struct leaks_search *s = r->s;

	while (r->hole < s->hole_count && s->holes[r->hole].end <= from)
		r->hole++;
	for (size_t i = r->hole; from < to; i++) {
		bool is_last = i == s->hole_count || s->holes[i].start >= to;
		uintptr_t end = is_last ? to : s->holes[i].start;

		if (from < end) {
			leaks_scan_pages(s, from, end, is_shared);
			leaks_scan_pending(s);
		}
		if (is_last)
			return;
		if (s->holes[i].end > from)
			from = s->holes[i].end;
	}
}

static void scan_mapping(const struct proc_mapping *m, void *arg)
{
	struct roots *r = arg;
	bool follows_guard = r->guard_end == m->start;

	r->guard_end = m->is_readable ? 0 : m->end;
	if (is_root(r->s, m))
		scan_around_holes(r, first_root(r->s, m, follows_guard), m->end, m->is_shared);
}

static void scan_registers(struct leaks_search *s, const struct stopped_thread *t)
{
	uintptr_t at = (uintptr_t)&t->signal_stack; /* often only the kernel has its address */

	leaks_scan(s, at, at + WORD);
	leaks_scan(s, t->saved, t->saved_end);
	leaks_scan_pending(s);
}

bool leaks_mark_reached(struct leaks_search *s)
{
	struct roots roots = {.s = s};

	s->mark = BLOCK_REACHED;
	scan_registers(s, &s->own);
	for (size_t i = 0; i < s->stop.count; i++)
		if (s->stop.threads[i].id)
			scan_registers(s, &s->stop.threads[i]);
	return proc_each_mapping(scan_mapping, &roots);
}
