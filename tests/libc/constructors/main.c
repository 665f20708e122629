// SPDX-License-Identifier: BSD-3-Clause

/* It has a library that does things before main. */

void early(void);

int main(void)
{
	early();
	return 0;
}
