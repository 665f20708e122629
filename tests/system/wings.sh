#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.a, bin/block/placement, bin/block/placement_errors, bin/block/placement_heap, bin/block/placement_realloc
#
# The wings of src/, from the bottom up: each links with those alone that it may use (tests/wings),
# so nothing that it calls is above it. Inside a wing, the files call each other without a circle. The block list, linked so, is the course allocator: the
# placement rules hold in it without the rest of the library.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

src=${library%/*}
cc=${CC:-cc}

# may_use WING: the wings that its line names
may_use() {
	sed -n "s/^$1://p" "$tests/wings"
}

# below WING: what it may use, and what that may use
below() {
	for wing in $(may_use "$1"); do
		echo "$wing"
		below "$wing"
	done | sort -u
}

# objects WING: the course's file is the top of its list
objects() {
	case $1 in
	base) grep -v -e / -e '^osmem\.o$' "$scratch/all" ;;
	block) grep -e '^block/' -e '^osmem\.o$' "$scratch/all" ;;
	*) grep "^$1/" "$scratch/all" ;;
	esac
}

# links OUTPUT WING [OBJECT]: the wing and what is below it, with the C library alone
links() {
	output=$1 wing=$2
	shift 2
	for part in "$wing" $(below "$wing"); do
		objects "$part"
	done >"$scratch/objects"
	(cd "$src" && xargs "$cc" -shared -Wl,-z,defs,-soname,libosmem.so -o "$output" "$@") \
		<"$scratch/objects"
}

# What calls up, or a wing without what is below it, does not link.
upward_calls_are_seen() {
	echo 'void tcache_trim(void); void up(void); void up(void) { tcache_trim(); }' \
		>"$scratch/up.c" && "$cc" -fPIC -c -o "$scratch/up.o" "$scratch/up.c" &&
		links "$scratch/cache.so" cache "$scratch/up.o" || return 1
	! links "$scratch/large.so" large "$scratch/up.o" >"$scratch/said" 2>&1 &&
		grep -q 'undefined reference to .tcache_trim' "$scratch/said"
}

# has_no_circle: the objects that standard input lists use each other in one direction.
has_no_circle() {
	(cd "$src" && xargs nm -A) | sed -E 's/:[0-9a-f]* +/ /' | awk '
		$2 == "U" { used[$3] = used[$3] " " $1 }
		$2 ~ /[TDBRVWC]/ { owner[$3] = $1 }
		END {
			for (name in owner) {
				n = split(used[name], users, " ")
				for (i = 1; i <= n; i++)
					print users[i], owner[name]
			}
		}' | tsort >"$scratch/order"
}

wing_has_no_circle() {
	objects "$1" | has_no_circle
}

circles_are_seen() {
	echo 'void one(void); void two(void); void one(void) { two(); }' >"$scratch/one.c" &&
		echo 'void one(void); void two(void); void two(void) { one(); }' >"$scratch/two.c" &&
		(cd "$scratch" && "$cc" -c one.c two.c) || return 1
	printf '%s\n' "$scratch/one.o" | has_no_circle || return 1
	! printf '%s\n' "$scratch/one.o" "$scratch/two.o" | has_no_circle
}

# Every object is in a wing.
wings_are_complete() {
	for wing in $wings; do
		objects "$wing"
	done | sort >"$scratch/listed"
	sort "$scratch/all" | diff - "$scratch/listed"
}

course_exports_its_four_functions() {
	links "$scratch/libosmem.so" block && nm -D --defined-only "$scratch/libosmem.so" |
		awk '{ print $3 }' | LC_ALL=C sort >"$scratch/exports"
	printf 'os_%s\n' calloc free malloc realloc | diff - "$scratch/exports"
}

# course_alone TEST: with no other allocator in the process but the C library's
course_alone() {
	links "$scratch/libosmem.so" block &&
		LD_PRELOAD=$scratch/libosmem.so "$tests/bin/$1"
}

if ! has "$cc" make; then
	skip all "no $cc or no make"
	finish
fi
unset MAKEFLAGS MFLAGS MAKELEVEL
make -s -C "$src" objects | tr ' ' '\n' >"$scratch/all"
wings=$(sed -n 's/:.*//p' "$tests/wings" | grep -vx tools)
expect wings_are_complete wings_are_complete
for wing in $wings; do
	expect "links_$wing" links "$scratch/wing.so" "$wing"
	expect "no_circle_$wing" wing_has_no_circle "$wing"
done
expect upward_calls_are_seen upward_calls_are_seen
expect circles_are_seen circles_are_seen
expect course_exports_its_four_functions course_exports_its_four_functions
for test in placement placement_errors placement_heap placement_realloc; do
	expect "course_alone_$test" course_alone "block/$test"
done
finish
