# SPDX-License-Identifier: BSD-3-Clause
#
# Programs that were linked with an installed library go on with any later one of the same first
# number.

VERSION = 1.0.0
SONAME = libosmem.so.$(firstword $(subst ., ,$(VERSION)))
