# SPDX-License-Identifier: BSD-3-Clause
#
# $(call run,CC) in front of a command prints "CC target" in its place; make V=1 prints the command,
# and make -s nothing.

run = $(if $(V),,@$(if $(findstring s,$(firstword -$(MAKEFLAGS))),,echo '$(1) $@' && ))
