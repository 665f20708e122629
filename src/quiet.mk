# SPDX-License-Identifier: BSD-3-Clause
#
# $(call run,CC) in front of a command prints "CC target" instead of it. make V=1 prints the command,
# make -s nothing.

run = $(if $(V),,@$(if $(findstring s,$(firstword -$(MAKEFLAGS))),,echo '$(1) $@' && ))
