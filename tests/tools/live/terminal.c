// SPDX-License-Identifier: BSD-3-Clause

/*
 *	terminal HEAPVIEW SCENARIO    heapview --live in a pseudo terminal, watching a mock
 *	terminal HEAPVIEW SOCKET      the same with that process; it is trimmed, and its profile and
 *	                              map are saved
 *
 * In the present folder. Exits 0, or 1 with the reason on standard output.
 */

#include "terminal.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

#define PATIENCE_MS 15000

struct session {
	struct screen screen;
	const char *heapview, *path;
	struct termios before;
	int master, slave, states; /* states: wait statuses of the viewer, from the shell */
	pid_t shell, viewer, mock;
	char raw[1 << 16]; /* the first bytes */
	size_t count;
};

static struct session s;

static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	screen_print(&s.screen);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
	if (s.viewer > 0)
		kill(s.viewer, SIGKILL);
	exit(1);
}

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail("line %d: %s", __LINE__, #condition);                                 \
	} while (0)

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Take in what comes within some time. False at the end. */
static bool pump(int ms)
{
	struct pollfd p = {s.master, POLLIN, 0};
	char bytes[4096];
	ssize_t n;

	if (poll(&p, 1, ms) <= 0)
		return true;
	n = read(s.master, bytes, sizeof(bytes));
	if (n <= 0)
		return false;
	for (ssize_t i = 0; i < n && s.count < sizeof(s.raw) - 1; i++)
		s.raw[s.count++] = bytes[i];
	screen_put(&s.screen, bytes, (size_t)n);
	return true;
}

static void wait_for(const char *text)
{
	long end = now_ms() + PATIENCE_MS;

	while (!screen_has(&s.screen, text)) {
		if (now_ms() > end)
			fail("\"%s\" did not appear", text);
		pump(100);
	}
}

static void pump_for(int ms)
{
	for (long end = now_ms() + ms; now_ms() < end;)
		pump(50);
}

/* In the foreground. */
static void run_viewer(const char *const *variables)
{
	unsetenv("NO_COLOR");
	setenv("TERM", "xterm", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	for (; *variables; variables++)
		putenv((char *)(size_t)*variables);
	setpgid(0, 0);
	signal(SIGTTOU, SIG_IGN);
	tcsetpgrp(0, getpid());
	signal(SIGTTOU, SIG_DFL);
	execl(s.heapview, s.heapview, "--live", s.path, (char *)NULL);
	_exit(127);
}

/*
 * The leader of the session tells each change of the viewer. The terminal stays as long as it
 * lives.
 */
static void run_shell(int states, const char *const *variables)
{
	int status;
	pid_t pid;

	close(s.master);
	if (login_tty(s.slave) < 0)
		_exit(127);
	pid = fork();
	if (pid == 0)
		run_viewer(variables);
	while (write(states, &pid, sizeof(pid)) < 0)
		;
	while (waitpid(pid, &status, WUNTRACED) == pid)
		(void)!write(states, &status, sizeof(status));
	for (;;)
		pause();
}

/* Start the viewer with variables NAME=value, the last one NULL. */
static void start(int columns, int rows, const char *const *variables)
{
	struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
	int ends[2];

	screen_begin(&s.screen, columns, rows);
	CHECK(pipe(ends) == 0 && openpty(&s.master, &s.slave, NULL, NULL, &size) == 0);
	CHECK(tcgetattr(s.slave, &s.before) == 0);
	s.states = ends[0];
	s.shell = fork();
	if (s.shell == 0)
		run_shell(ends[1], variables);
	CHECK(read(s.states, &s.viewer, sizeof(s.viewer)) == sizeof(s.viewer));
}

/* The next change of the viewer, as a wait status. */
static int next_state(void)
{
	struct pollfd p = {s.states, POLLIN, 0};
	long limit = now_ms() + PATIENCE_MS;
	int status;

	while (poll(&p, 1, 0) <= 0) {
		if (now_ms() > limit)
			fail("it neither ends nor stops");
		pump(20);
	}
	CHECK(read(s.states, &status, sizeof(status)) == sizeof(status));
	pump_for(100);
	return status;
}

/* The rest of the structure is not the kernel's. */
static bool is_same(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && a->c_cc[VMIN] == b->c_cc[VMIN] &&
	       a->c_cc[VTIME] == b->c_cc[VTIME] && a->c_cc[VINTR] == b->c_cc[VINTR];
}

static bool is_restored(void)
{
	struct termios now;

	return !s.screen.is_second && !s.screen.hides_cursor && tcgetattr(s.slave, &now) == 0 &&
	       is_same(&now, &s.before);
}

static const char *const plain[] = {NULL};

static void begin(enum mock mock, int columns, int rows, const char *const *variables)
{
	unlink(s.path);
	s.mock = mock_start(s.path, mock);
	CHECK(s.mock > 0);
	start(columns, rows, variables);
}

static void press(char key)
{
	CHECK(write(s.master, &key, 1) == 1);
}

/* The viewer ends; the terminal is as it was. Returns the wait status. */
static int end(void)
{
	int status = next_state();

	CHECK(!WIFSTOPPED(status) && is_restored() && !s.screen.is_wide);
	s.viewer = 0;
	kill(s.shell, SIGKILL);
	waitpid(s.shell, NULL, 0);
	return status;
}

static bool exited_with(int status, int code)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

/* ---- Scenarios ---- */

static void shows_figures(void)
{
	begin(MOCK_PLAIN, 80, 24, plain);
	wait_for("q  quit");
	CHECK(s.screen.is_second && s.screen.hides_cursor && s.screen.has_colour);
	wait_for("shop  process 4242");
	wait_for("+7.0 MiB/s");
	wait_for("35.0 k  "); /* calls */
	wait_for("peak 310 MiB");
	CHECK(screen_has(&s.screen, "      64 B      500 k   30.5 MiB    2.5 KiB"));
	CHECK(screen_has(&s.screen, " above 32K         12    5.0 MiB"));
	CHECK(screen_has(&s.screen, "and 21 more"));
	CHECK(screen_has(&s.screen, "        4000    1000  58.6 KiB"));
	CHECK(screen_has(&s.screen, "\x01")); /* sparklines */
	CHECK(strncmp(s.screen.cells[23], "  t  trim", 9) == 0);
	press('q');
	CHECK(exited_with(end(), 0));
}

static void keys_trim_and_save(void)
{
	CHECK(system("rm -f osmem-4242-*") == 0);
	begin(MOCK_PLAIN, 100, 30, plain);
	wait_for("q  quit");
	press('t');
	wait_for("Trimmed: resident was 300.0 MiB and is 120.0 MiB");
	press('p');
	wait_for("No samples are taken; s starts sampling");
	press('s');
	wait_for("Sampling; p saves a profile");
	press('p');
	wait_for("Saved 9 bytes: heapview osmem-4242-");
	CHECK(system("cat osmem-4242-*.pb | grep -qx 'a profile'") == 0);
	/* Keys wait for each other. */
	CHECK(write(s.master, "ppm", 3) == 3);
	wait_for("Refused: no space for a map");
	CHECK(system("[ $(ls osmem-4242-*.pb | wc -l) -eq 3 ] && ! ls osmem-4242-*.map "
		     "2>/dev/null") == 0);
	press('s');
	wait_for("No more samples are taken");
	press('q');
	CHECK(exited_with(end(), 0));
}

/* Resize the terminal. What was under way for the old size may still come once. */
static void resize(int columns, int rows)
{
	struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
	long limit = now_ms() + PATIENCE_MS;

	CHECK(ioctl(s.master, TIOCSWINSZ, &size) == 0);
	do {
		CHECK(now_ms() < limit);
		screen_begin(&s.screen, columns, rows);
		s.screen.is_wide = false;
		pump_for(1200);
	} while (s.screen.is_wide || s.screen.row != rows - 1);
}

static void works_at_any_size(void)
{
	static const int sizes[][2] = {{80, 24}, {200, 60}, {80, 25}, {40, 12},
				       {20, 5},	 {1, 1},    {299, 99}};

	begin(MOCK_PLAIN, 80, 24, plain);
	wait_for("q  quit");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		resize(sizes[i][0], sizes[i][1]);
		if (sizes[i][0] >= 80)
			CHECK(screen_has(&s.screen, "q  quit") &&
			      screen_has(&s.screen, "Resident"));
	}
	press('q');
	CHECK(exited_with(end(), 0));
}

static void works_without_colour(void)
{
	static const char *const variables[] = {"NO_COLOR=1", NULL};

	begin(MOCK_PLAIN, 80, 24, variables);
	wait_for("+7.0 MiB/s");
	CHECK(!s.screen.has_colour);
	press('q');
	CHECK(exited_with(end(), 0));
}

static void works_in_ascii(void)
{
	static const char *const variables[] = {"LC_ALL=C", NULL};

	begin(MOCK_PLAIN, 80, 24, variables);
	wait_for("+7.0 MiB/s");
	CHECK(!screen_has(&s.screen, "\x01") && screen_has(&s.screen, "####"));
	press('q');
	CHECK(exited_with(end(), 0));
}

static void dumb_terminals_get_lines(void)
{
	static const char *const variables[] = {"TERM=dumb", NULL};

	begin(MOCK_PLAIN, 100, 24, variables);
	wait_for("live 100 MiB (+0 B/s), held 320 MiB, resident 300 MiB, peak 310 MiB");
	wait_for("live 107 MiB (+7.0 MiB/s)");
	CHECK(!memchr(s.raw, '\x1b', s.count));
	kill(s.viewer, SIGINT);
	CHECK(WTERMSIG(end()) == SIGINT);
}

static void signals_restore_the_terminal(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int status;

		begin(MOCK_PLAIN, 80, 24, plain);
		wait_for("q  quit");
		kill(s.viewer, signals[i]);
		status = end();
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signals[i]);
		kill(s.mock, SIGKILL);
	}
}

static void control_c_ends_it(void)
{
	begin(MOCK_PLAIN, 80, 24, plain);
	wait_for("q  quit");
	press(3);
	CHECK(WTERMSIG(end()) == SIGINT);
}

static void stops_and_continues(void)
{
	begin(MOCK_PLAIN, 80, 24, plain);
	wait_for("q  quit");
	press(26);
	CHECK(WIFSTOPPED(next_state()) && is_restored());
	kill(s.viewer, SIGCONT);
	screen_begin(&s.screen, 80, 24);
	wait_for("q  quit");
	CHECK(s.screen.is_second && s.screen.hides_cursor);
	press('q');
	CHECK(exited_with(end(), 0));
}

static void says_that_the_process_has_ended(void)
{
	begin(MOCK_DIES, 80, 24, plain);
	wait_for("the process has ended");
	CHECK(exited_with(end(), 0));
}

static void slow_processes_do_not_block_keys(void)
{
	long pressed;

	begin(MOCK_SLOW, 80, 24, plain);
	wait_for("q  quit");
	pump_for(1500);
	pressed = now_ms();
	press('q');
	CHECK(exited_with(end(), 0));
	CHECK(now_ms() - pressed < 1500);
}

static void missing_figures_are_dashes(void)
{
	begin(MOCK_UNCOUNTED, 80, 24, plain);
	wait_for("q  quit");
	CHECK(screen_has(&s.screen, " Resident           -"));
	CHECK(screen_has(&s.screen, "not counted"));
	press('q');
	CHECK(exited_with(end(), 0));
}

/* It fails before the terminal was shown anything, and says so. */
static void bad_answers_end_it(void)
{
	begin(MOCK_GARBAGE, 80, 24, plain);
	wait_for("the figures cannot be read");
	CHECK(exited_with(end(), 1));
	begin(MOCK_REFUSES, 80, 24, plain);
	wait_for("too many?[31m connections");
	CHECK(exited_with(end(), 1));
	kill(s.mock, SIGKILL);
	waitpid(s.mock, NULL, 0);
	start(80, 24, plain);
	wait_for("no process serves it any more");
	CHECK(exited_with(end(), 1));
	unlink(s.path);
	start(80, 24, plain);
	wait_for("No such file");
	CHECK(exited_with(end(), 1));
}

static void end_of_input_ends_it(void)
{
	begin(MOCK_PLAIN, 80, 24, plain);
	wait_for("q  quit");
	press(4);
	CHECK(exited_with(end(), 0));
}

/* Into a pipe, there are no sequences. */
static void prints_once(void)
{
	char command[512], text[8192];
	size_t count;
	FILE *pipe;

	s.mock = mock_start(s.path, MOCK_PLAIN);
	snprintf(command, sizeof(command), "LC_ALL=C %s --live %s", s.heapview, s.path);
	pipe = popen(command, "re");
	CHECK(pipe);
	count = fread(text, 1, sizeof(text) - 1, pipe);
	text[count] = '\0';
	CHECK(pclose(pipe) == 0 && !strchr(text, '\x1b') && !strchr(text, '\r'));
	CHECK(strstr(text, " Resident     300 MiB, peak 310 MiB\n"));
	CHECK(strstr(text, "64 B      500 k   30.5 MiB    2.5 KiB"));
	CHECK(!strstr(text, "quit"));
}

/* The library's own service. */
static void watches_a_process(void)
{
	start(100, 30, plain);
	wait_for("q  quit");
	press('t');
	wait_for("Trimmed: resident was ");
	press('p');
	wait_for("No samples are taken");
	press('s');
	wait_for("Sampling; p saves");
	press('p');
	wait_for("Saved ");
	CHECK(system("ls osmem-*.pb") == 0);
	screen_begin(&s.screen, 100, 30);
	press('m');
	wait_for(".map");
	CHECK(system("ls osmem-*.map") == 0);
	press('q');
	CHECK(exited_with(end(), 0));
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
#define SCENARIO(name)                                                                             \
	{                                                                                          \
#name, name                                                                        \
	}
	SCENARIO(shows_figures),	SCENARIO(keys_trim_and_save),
	SCENARIO(works_at_any_size),	SCENARIO(works_without_colour),
	SCENARIO(works_in_ascii),	SCENARIO(dumb_terminals_get_lines),
	SCENARIO(control_c_ends_it),	SCENARIO(signals_restore_the_terminal),
	SCENARIO(stops_and_continues),	SCENARIO(says_that_the_process_has_ended),
	SCENARIO(bad_answers_end_it),	SCENARIO(slow_processes_do_not_block_keys),
	SCENARIO(end_of_input_ends_it), SCENARIO(missing_figures_are_dashes),
	SCENARIO(prints_once),
};

int main(int argc, char **argv)
{
	static char path[128];

	if (argc < 3)
		return 2;
	s.heapview = argv[1];
	if (strchr(argv[2], '/')) {
		s.path = argv[2];
		watches_a_process();
		return 0;
	}
	snprintf(path, sizeof(path), "mock-%d", (int)getpid());
	s.path = path;
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (strcmp(scenarios[i].name, argv[2]) != 0)
			continue;
		scenarios[i].run();
		if (s.mock > 0)
			kill(s.mock, SIGKILL);
		unlink(path);
		return 0;
	}
	printf("no scenario %s\n", argv[2]);
	return 2;
}
