# SPDX-License-Identifier: BSD-3-Clause
#
# Programs linked with an installed library work with any later one of the same major version.

VERSION = 1.0.0
SONAME = libosmem.so.$(firstword $(subst ., ,$(VERSION)))
