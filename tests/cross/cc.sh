#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The compiler of the target, for a machine that needs an emulator to run what it builds:
#
#	FRONT=… cc.sh COMPILER ARGUMENT…
#
# A program that it links is NAME.elf, with a front (front.c) under its own name.

compiler=$1
shift
program=a.out previous=
for argument; do
	case $argument in
	-c | -S | -E | -M | -MM | -r | -shared | -fsyntax-only | -dump* | -print-* | --version)
		exec "$compiler" "$@"
		;;
	esac
	[ "$previous" != -o ] || program=$argument
	previous=$argument
done
# The front may be a link that all programs share: do not write to it.
rm -f "$program"
"$compiler" "$@" || exit
mv "$program" "$program.elf" && { ln "$FRONT" "$program" 2>/dev/null || cp "$FRONT" "$program"; }
