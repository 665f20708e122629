# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
#
# Sourced by target.sh: real programs, from the sources that the distribution has of them, built for
# the target. Each runs one of programs/load.* with the library preloaded and without: what it prints
# must be the same. Sources and programs stay in the user's cache; what is not there, and cannot be
# fetched, is skipped by name.

# shellcheck disable=SC2154,SC2317 # variables of target.sh; functions are called through expect

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/osmem-cross
built=$cache/built-$target

# apt-get with the machine's own sources, but of source packages, and with folders of its own.
get() {
	timeout 120 apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=10 \
		-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$cache/apt/parts" \
		-o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt" "$@"
}

# Once a run; not again, where it does not work.
update() {
	[ -z "$updated" ] || return "$updated"
	mkdir -p "$cache/apt/parts" "$cache/apt/lists/partial" "$cache/apt/archives/partial" || return
	for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
		[ ! -f "$list" ] || sed -e 's/^deb\([ \t]\)/deb-src\1/' -e 's/^Types:.*/Types: deb-src/' "$list" \
			>"$cache/apt/parts/${list##*/}"
	done
	get update
	updated=$?
	return "$updated"
}

# fetch PACKAGE: its sources are in $cache/PACKAGE, patched.
fetch() {
	[ -d "$cache/$1" ] && return
	update && mkdir -p "$cache/download/$1" && (cd "$cache/download/$1" && get source --download-only "$1") &&
		dpkg-source --no-check -x "$cache/download/$1"/*.dsc "$cache/$1.new" && mv "$cache/$1.new" "$cache/$1"
}

# compile PROGRAM SOURCES ARGUMENT…: a program of these files, one after another.
compile() {
	program=$1 sources=$2
	shift 2
	# shellcheck disable=SC2016,SC2086 # the dollars are of the shell that it runs; the files are words
	printf '%s\n' $sources | nice xargs -P "$(nproc)" -I '{}' sh -c \
		'file={}; object=$1/$(echo "$file" | tr / _).o; shift; exec "$@" -w -O1 -c -o "$object" "$file"' \
		sh "$scratch/objects" "$tools/cc" "$@" && "$tools/cc" -o "$built/$program" "$scratch/objects"/*.o -lm
}

build_busybox() {
	cp -R "$cache/busybox" "$scratch/busybox" && cd "$scratch/busybox" && make allnoconfig || return
	for option in ASH SH_IS_ASH CAT SORT GREP SED AWK GZIP GUNZIP MD5SUM HEAD TAIL CUT TR WC UNIQ SEQ TAR; do
		sed -i "s/^# CONFIG_$option is not set/CONFIG_$option=y/" .config
	done
	yes '' | make oldconfig && make -j"$(nproc)" CC="$tools/cc" AR="$(PATH=$tools:$PATH command -v ar)" HOSTCC=cc \
		EXTRA_CFLAGS="-O1 -w" busybox_unstripped || return
	for file in busybox_unstripped busybox_unstripped.elf; do
		[ ! -f "$file" ] || cp "$file" "$built/busybox${file#busybox_unstripped}" || return
	done
}

build_lua() {
	# A header that Debian's build makes.
	echo '#define DEB_HOST_MULTIARCH "none"' >"$scratch/objects/lua5.4-deb-multiarch.h"
	cd "$cache/lua5.4/src" && compile lua "$(echo [!.]*.c | sed 's/luac\.c//')" -DLUA_USE_POSIX -I"$scratch/objects"
}

build_minigzip() {
	cd "$cache/zlib" && compile minigzip "$(echo [!.]*.c test/minigzip.c)" -I. -D_LARGEFILE64_SOURCE=1
}

# One file has all of it; tclsh makes it, once for all targets.
build_sqlite() {
	if [ ! -f "$cache/sqlite3/one/shell.c" ]; then
		has tclsh && mkdir -p "$cache/sqlite3/one" && cd "$cache/sqlite3/one" &&
			CC=cc ../configure --disable-tcl --disable-readline && make sqlite3.c shell.c || return
	fi
	cd "$cache/sqlite3/one" && compile sqlite 'sqlite3.c shell.c' -I. -DSQLITE_THREADSAFE=1 \
		-DSQLITE_OMIT_LOAD_EXTENSION
}

# build NAME PACKAGE: unless it has been built.
build() {
	[ -x "$built/$1" ] && return
	mkdir -p "$built" "$scratch/objects" && rm -f "$scratch/objects"/* && ("build_$1")
}

load_busybox() {
	"$@" "$built/busybox" ash "$here/programs/load.sh" "$built/busybox" "$data"
}

load_lua() {
	"$@" "$built/lua" "$here/programs/load.lua"
}

load_minigzip() {
	"$@" "$built/minigzip" <"$data" >"$scratch/data.gz" && gzip -d <"$scratch/data.gz" | cmp - "$data" &&
		"$@" "$built/minigzip" -d <"$scratch/data.gz" | cksum
}

load_sqlite() {
	"$@" "$built/sqlite" :memory: <"$here/programs/load.sql"
}

# same NAME: it prints the same with the library, and something; and the library was there.
same() {
	"load_$1" timeout 100 >"$scratch/without" && [ -s "$scratch/without" ] &&
		"load_$1" timeout 100 env OSMEM_OPTIONS=stats LD_PRELOAD="$tree/src/libosmem.so" \
			>"$scratch/with" 2>"$scratch/err" || return
	grep -q '^osmem: process' "$scratch/err" && cmp "$scratch/without" "$scratch/with"
}

# check_program NAME PACKAGE
check_program() {
	is_wanted "$1" || return 0
	if [ ! -x "$built/$1" ] && ! fetch "$2" >"$scratch/log" 2>&1; then
		skip "$1" "the sources of $2 cannot be fetched"
	elif [ "$1" = sqlite ] && ! [ -f "$cache/sqlite3/one/shell.c" ] && ! has tclsh; then
		skip "$1" "tclsh is not installed"
	else
		expect "$1_build" build "$1" && [ -x "$built/$1" ] && expect "$1" same "$1"
	fi
}

# check_programs NAME…
check_programs() {
	updated='' data=$tests/../README.md
	for program in "$@"; do
		case $program in
		lua) check_program lua lua5.4 ;;
		minigzip) check_program minigzip zlib ;;
		sqlite) check_program sqlite sqlite3 ;;
		*) check_program "$program" "$program" ;;
		esac
	done
}
