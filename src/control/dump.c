// SPDX-License-Identifier: BSD-3-Clause

#include "dump.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "compat.h"
#include "helpers.h"
#include "outputs.h"
#include "service.h"
#include "sys_signals.h"
#include "tunables.h"

#define FIRST_REAL_TIME 32

static const struct signal_name {
	char name[8];
	int signal;
	bool ends; /* the program, by default: rule 3 */
} names[] = {
	{"USR1", SIGUSR1, false}, {"USR2", SIGUSR2, false},    {"HUP", SIGHUP, true},
	{"INT", SIGINT, true},	  {"QUIT", SIGQUIT, true},     {"TERM", SIGTERM, true},
	{"ALRM", SIGALRM, true},  {"VTALRM", SIGVTALRM, true}, {"PROF", SIGPROF, true},
	{"XCPU", SIGXCPU, true},  {"PWR", SIGPWR, true},       {"IO", SIGIO, true},
	{"CHLD", SIGCHLD, false}, {"URG", SIGURG, false},      {"WINCH", SIGWINCH, false},
};

static _Atomic(int) requested; /* a signal, or 0 */
static _Atomic(uint32_t) written; /* the number of dumps */

bool dump_read(struct word word, size_t *signal)
{
	struct word rest = word;
	size_t number;

	if (!word_take_number(&rest, &number) || rest.len)
		number = 0;
	if (word.len > 3 && memcmp(word.at, "SIG", 3) == 0)
		word = (struct word){.at = word.at + 3, .len = word.len - 3};
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (word_is(word, names[i].name) || number == (size_t)names[i].signal)
			number = *signal = (size_t)names[i].signal;
	if (number >= FIRST_REAL_TIME && number < _NSIG &&
	    compat_sigaction((int)number, NULL, NULL) == 0) /* not libc's own */
		*signal = number;
	return *signal;
}

static bool ends_program(int signal)
{
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (names[i].signal == signal)
			return names[i].ends;
	return false;
}

/* Let the signal act as it does by default. */
static void act_by_default(int signal)
{
	const struct sigaction by_default = {.sa_handler = SIG_DFL};

	compat_sigaction(signal, &by_default, NULL);
	signals_send(signal);
}

/* A child that was made without fork handlers has no service. */
static void on_signal(int signal)
{
	uint32_t before = atomic_load(&written);
	bool ends = ends_program(signal);

	atomic_store(&requested, signal);
	if (!service_wake()) {
		if (ends)
			act_by_default(signal);
		return;
	}
	for (unsigned int i = 0; ends && i < DUMP_WAITS && atomic_load(&written) == before; i++)
		sys_sleep_on(&written, before, NAP_NS);
}

/* Whether the program has not installed another handler. */
static bool is_ours(int signal)
{
	struct sigaction now;

	return compat_sigaction(signal, NULL, &now) == 0 && now.sa_handler == on_signal;
}

/* The pending signal ends the process before the handler returns to the program. */
static void write_requested(void)
{
	int signal = atomic_exchange(&requested, 0);

	if (!signal)
		return;
	outputs_write();
	if (ends_program(signal) && is_ours(signal)) {
		service_remove_socket();
		act_by_default(signal);
	}
	atomic_fetch_add(&written, 1);
	sys_wake_one(&written);
}

void dump_begin(int signal)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
	struct sigaction before;

	service_on_wake = write_requested;
	if (compat_sigaction(signal, NULL, &before) == 0 && before.sa_handler == SIG_DFL)
		compat_sigaction(signal, &action, NULL);
	else
		sys_report(
			"OSMEM_OPTIONS: dump_on: the program was started with the signal ignored");
}
