// SPDX-License-Identifier: BSD-3-Clause

/* A process that answers as the library's service does, one request after another. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "terminal.h"

#define MIB (1UL << 20)

static unsigned long second, resident = 300 * MIB;
static bool samples;

static int write_classes(char *out, size_t room)
{
	int n = snprintf(out, room, "\"classes\":[");

	for (int i = 1; i <= 40; i++)
		n += snprintf(out + n, room - (size_t)n,
			      "%s{\"size\":%d,\"slabs\":3,\"room\":9000,\"live\":%d,\"cached\":%d}",
			      i > 1 ? "," : "", 16 * i, i == 4 ? 500000 : 100 * i, 10 * i);
	n += snprintf(out + n, room - (size_t)n, "],\"threads\":[");
	for (int i = 0; i < 30; i++)
		n += snprintf(out + n, room - (size_t)n, "%s{\"id\":%d,\"cells\":%d,\"bytes\":%d}",
			      i ? "," : "", 4000 + i, 1000 - i, 60000 - 1000 * i);
	return n + snprintf(out + n, room - (size_t)n, "]}");
}

static void write_stats(char *out, size_t room, enum mock mock)
{
	unsigned long live = (100 + 7 * (second % 20)) * MIB;
	int n = snprintf(out, room, "{\"process\":4242,\"time_ms\":%lu,", 1000 * second++);

	if (mock == MOCK_UNCOUNTED) {
		snprintf(out + n, room - (size_t)n, "\"live_bytes\":%lu,\"held_bytes\":%lu}", live,
			 2 * live);
		return;
	}
	n += snprintf(out + n, room - (size_t)n,
		      "\"program\":\"shop\",\"course\":{},\"libc\":{\"allocs\":5,\"frees\":5,"
		      "\"reallocs\":0,\"live_blocks\":12,\"live_bytes\":5242880},"
		      "\"cells\":{\"allocs\":%lu,\"frees\":%lu,\"reallocs\":0,\"cached_bytes\":%lu,"
		      "\"dirty_bytes\":4096},\"live_bytes\":%lu,\"held_bytes\":%lu,"
		      "\"resident_bytes\":%lu,"
		      "\"peak_resident_bytes\":%lu,",
		      second * 20000, second * 15000, 9 * MIB, live, 320 * MIB, resident,
		      310 * MIB);
	write_classes(out + n, room - (size_t)n);
}

static void reply(int client, const char *status, const char *body)
{
	char head[128];
	int n = snprintf(head, sizeof(head), "HTTP/1.0 %s\r\nContent-Length: %zu\r\n\r\n", status,
			 strlen(body));

	(void)!write(client, head, (size_t)n);
	(void)!write(client, body, strlen(body));
}

static void answer(int client, enum mock mock)
{
	static char body[32768], request[1024];
	ssize_t n = read(client, request, sizeof(request) - 1);

	request[n > 0 ? n : 0] = '\0';
	if (strncmp(request, "POST /trim ", 11) == 0) {
		resident = 120 * MIB;
		reply(client, "200 OK", "trimmed\n");
	} else if (strncmp(request, "POST /profile/start ", 20) == 0) {
		reply(client, samples ? "409 Conflict" : "200 OK", "it is on already\n");
		samples = true;
	} else if (strncmp(request, "POST /profile/stop ", 19) == 0) {
		reply(client, samples ? "200 OK" : "409 Conflict", "it is off\n");
		samples = false;
	} else if (strncmp(request, "GET /profile ", 13) == 0) {
		reply(client, samples ? "200 OK" : "409 Conflict",
		      samples ? "a profile" : "no samples\n");
	} else if (strncmp(request, "GET /map ", 9) == 0) {
		reply(client, "507 Insufficient Storage", "no space for a map\n");
	} else if (mock == MOCK_GARBAGE) {
		reply(client, "200 OK", "{\"live_bytes\":12,");
	} else if (mock == MOCK_REFUSES) {
		reply(client, "503 Service Unavailable",
		      "too many\x1b[31m connections\nand more\n");
	} else {
		if (mock == MOCK_SLOW && second)
			sleep(3);
		if (mock == MOCK_DIES && second == 2)
			_exit(0);
		write_stats(body, sizeof(body), mock);
		reply(client, "200 OK", body);
	}
}

pid_t mock_start(const char *path, enum mock mock)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 8) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGPIPE, SIG_IGN);
		for (;;) {
			int client = accept(listener, NULL, NULL);

			answer(client, mock);
			close(client);
		}
	}
	close(listener);
	return pid;
}
