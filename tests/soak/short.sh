#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, bin/soak/soak
#
# A short soak; "make soak" is the long one.

# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

expect short timeout 300 "$tests/bin/soak/soak" 3 4 1 64

finish
