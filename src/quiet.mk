# SPDX-License-Identifier: BSD-3-Clause
#
# $(call run,CC) in front of a command prints "CC target" instead of it, $(Q) prints nothing. make
# V=1 prints the command, make -s nothing.

MAKEFLAGS += --no-print-directory
Q = $(if $(V),,@)

run = $(if $(V),,@$(if $(findstring s,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),,echo '$(1) $@' && ))
