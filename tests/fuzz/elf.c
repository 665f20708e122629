// SPDX-License-Identifier: BSD-3-Clause

/* heapview's reader of ELF files, for libFuzzer: what it finds lies inside of the file. */

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "tools/elf_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_function *functions = NULL;
	char id[2 * ELF_ID_MAX + 1];
	uint64_t address;
	const char *link;
	size_t count = 0;
	struct elf e;

	if (!elf_from(&e, data, size))
		return 0;
	elf_build_id(&e, id);
	if (strlen(id) > 2 * ELF_ID_MAX)
		abort();
	link = elf_debug_link(&e);
	if (link && strlen(link) >= size)
		abort();
	elf_functions(&e, &functions, &count);
	for (size_t i = 0; i < count; i++)
		if (strnlen(functions[i].name, functions[i].name_max) > size)
			abort();
	for (uint64_t offset = 0; offset < 0x10000; offset += 0x1001)
		elf_address(&e, offset, &address);
	free(functions);
	return 0;
}
