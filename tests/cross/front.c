// SPDX-License-Identifier: BSD-3-Clause
//
// Starts a program of another architecture as if it were one of this machine. NAME is this program,
// NAME.elf the real one. Tests, and the programs that they test, start NAME by fork and exec or
// from a shell and need to know no emulator: the kernel's binfmt_misc does the same where it is set
// up.
//
// The loader's variables, LD_PRELOAD above all, are meant for the real program, so they become
// arguments of the emulator. This program is linked statically, so they do not affect it either.

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

static char *arguments[4096];
static size_t count;

static void add(char *argument)
{
	if (count < COUNT_OF(arguments) - 1)
		arguments[count++] = argument;
}

static void move_variables(void)
{
	char **to = environ;

	for (char **from = environ; *from; from++) {
		if (strncmp(*from, "LD_", 3) != 0) {
			*to++ = *from;
			continue;
		}
		add("-E");
		add(*from);
	}
	*to = NULL;
}

/* The architecture that a program is for, as qemu-user and Debian's cross compilers call it. */
static const char *architecture(const char *program)
{
	Elf64_Ehdr header = {0};
	int fd = open(program, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &header, sizeof(header)) != sizeof(header))
		return "unknown";
	close(fd);
	return header.e_machine == EM_RISCV ? "riscv64" : "aarch64";
}

int main(int argc, char **argv)
{
	static char program[PATH_MAX + sizeof(".elf")], emulator[32], root[64];
	ssize_t len = readlink("/proc/self/exe", program, PATH_MAX);

	if (len <= 0)
		return 126;
	memcpy(program + len, ".elf", sizeof(".elf"));
	snprintf(emulator, sizeof(emulator), "qemu-%s", architecture(program));
	snprintf(root, sizeof(root), "/usr/%s-linux-gnu", architecture(program));
	add(emulator);
	add("-L");
	add(root);
	add("-0");
	add(argv[0]);
	move_variables();
	add(program);
	for (int i = 1; i < argc; i++)
		add(argv[i]);
	execvp(emulator, arguments);
	perror(emulator);
	return 126;
}
