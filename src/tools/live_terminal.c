// SPDX-License-Identifier: BSD-3-Clause

/*
 * The terminal: keys come one by one and unseen, and the view has a screen of its own. Whatever
 * ends or stops heapview first gives the terminal back. Signals are blocked and read from a
 * descriptor, so that they arrive between two steps and not inside of one.
 */

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "heapview.h"
#include "live.h"

/* The second screen, no cursor, no line wrap; and back. */
#define ENTER "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
#define LEAVE "\x1b[?7h\x1b[?25h\x1b[?1049l"

static struct termios before;
static bool is_taken, has_keys;

enum terminal_kind terminal_kind(void)
{
	const char *name = getenv("TERM");

	if (!isatty(STDOUT_FILENO))
		return TERMINAL_NONE;
	return !name || !*name || strcmp(name, "dumb") == 0 ? TERMINAL_DUMB : TERMINAL_FULL;
}

void terminal_write(const char *text, size_t length)
{
	while (length) {
		ssize_t n = write(STDOUT_FILENO, text, length);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){STDOUT_FILENO, POLLOUT, 0}, 1, 1000);
		else if (n < 0 && errno != EINTR)
			return;
		if (n <= 0)
			continue;
		text += n;
		length -= (size_t)n;
	}
}

static void measure(struct terminal *t)
{
	struct winsize size;

	t->columns = 80;
	t->rows = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row) {
		t->columns = size.ws_col;
		t->rows = size.ws_row;
	}
}

/* Also without the locale's files: many containers have none. */
static bool is_utf8(void)
{
	static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
	const char *value = NULL;

	if (setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
		return true;
	for (size_t i = 0; i < 3 && !(value && *value); i++)
		value = getenv(names[i]);
	return value && (strcasestr(value, "utf-8") || strcasestr(value, "utf8"));
}

static void take(void)
{
	struct termios raw;

	has_keys = tcgetattr(STDIN_FILENO, &before) == 0;
	if (has_keys) {
		raw = before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	is_taken = true;
	terminal_write(ENTER, strlen(ENTER));
}

void live_restore(void)
{
	if (!is_taken)
		return;
	is_taken = false;
	terminal_write(LEAVE, strlen(LEAVE));
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

void terminal_begin(struct terminal *t)
{
	static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT};
	const char *no_colour = getenv("NO_COLOR");
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&set, wanted[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (t->signals < 0)
		die("signals: %s", strerror(errno));
	t->has_colour = !no_colour || !*no_colour;
	t->is_utf8 = is_utf8();
	measure(t);
	if (terminal_kind() == TERMINAL_FULL)
		take();
	atexit(live_restore);
}

/* What the signal does by default: end or stop. */
static void by_default(int signal)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

void terminal_signal(struct terminal *t)
{
	struct signalfd_siginfo info;
	bool was_taken = is_taken;

	if (read(t->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH || info.ssi_signo == SIGCONT) {
		/* Whoever stopped and continued it may have changed the terminal. */
		if (info.ssi_signo == SIGCONT && was_taken) {
			live_restore();
			take();
		}
		measure(t);
		return;
	}
	live_restore();
	by_default((int)info.ssi_signo);
	if (was_taken)
		take();
	measure(t);
}
