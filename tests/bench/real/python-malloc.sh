#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# python3 with every object in malloc.

PYTHONMALLOC=malloc exec sh "${0%/*}/python.sh" "$1"
