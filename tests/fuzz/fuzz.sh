#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Coverage-guided fuzzing with libFuzzer, under the sanitizers:
#
#	fuzz.sh [SECONDS [TARGET]…]
#
# each target for so long. The library's own copy has the C library's names under others,
# fuzzed_malloc and so on, because libFuzzer and the sanitizers have a malloc of theirs. What is
# found goes to FUZZ_OUT (tests/out/fuzz): the corpus in TARGET, the log, and inputs that fail
# (TARGET-crash-…), which bin-TARGET takes as arguments.

tests=$(cd "${0%/*}/.." && pwd) || exit 1
src=$tests/../src utils=$tests/../utils
seconds=${1:-60}
[ $# -gt 0 ] && shift
targets=${*:-placement libc}
out=${FUZZ_OUT:-$tests/out/fuzz}
cc=${FUZZ_CC:-clang}
sanitizers=address,undefined
flags="-std=gnu11 -O1 -g -pthread -D_GNU_SOURCE -fno-strict-aliasing -fno-omit-frame-pointer
	-fno-builtin -fno-sanitize-recover=all -fsanitize=$sanitizers"

skip() {
	echo "skipped: $1"
	exit 0
}

has_fuzzer() {
	echo 'int LLVMFuzzerTestOneInput(const char *p, long n) { return p && n < 0; }' >"$out/try.c"
	"$cc" -fsanitize="fuzzer,$sanitizers" -o "$out/try" "$out/try.c" >"$out/log" 2>&1 &&
		"$out/try" -runs=1 >"$out/log" 2>&1
}

# compile OBJECT SOURCE: instrumented, and with other names for what the library exports.
compile() {
	# shellcheck disable=SC2086 # the flags are words
	"$cc" $flags -fsanitize=fuzzer-no-link -I"$utils" -I"$src" -I"$tests/lib" -I"$tests/model" \
		-c -o "$1" "$2" && objcopy --redefine-syms="$out/names" "$1"
}

# The library and what targets share, as an archive: each takes what it needs.
build_library() {
	grep -v '^os_' "$tests/system/exports.txt" | sed 's/.*/& fuzzed_&/' >"$out/names"
	rm -f "$out"/*.o "$out/library.a"
	for file in "$src"/*.c "$src"/[!t]*/*.c "$src"/trace/*.c "$utils/printf.c" \
		"$tests/lib/objects.c" "$tests/model/compare.c" "$tests/model/naive.c" "$tests/lib/refusals.c"; do
		base=${file##*/}
		compile "$out/${base%.c}.o" "$file" || return 1
	done
	ar rcs "$out/library.a" "$out"/*.o
}

# Which functions of others a target replaces.
wraps() {
	[ "$1" = libc ] || return 0
	for function in $("$tests/lib/refused.sh") sys_now_ms; do
		echo "-Wl,--wrap=$function"
	done
}

build() {
	# shellcheck disable=SC2046 # the flags are words
	compile "$out/$1.o" "$tests/fuzz/$1.c" &&
		"$cc" -fsanitize="fuzzer,$sanitizers" $(wraps "$1") -pthread -o "$out/bin-$1" \
			"$out/$1.o" "$out/library.a"
}

# A few inputs to begin with: random bytes, the same ones every time.
seeds() {
	for seed in 1 2 3 4 5 6 7 8; do
		LC_ALL=C awk -v seed="$seed" 'BEGIN {
			srand(seed)
			for (i = 0; i < 60 * seed; i++)
				printf "%c", 1 + int(rand() * 255)
		}' >"$1/seed-$seed"
	done
}

# fuzz TARGET: the corpus that was found before is where it goes on.
fuzz() {
	mkdir -p "$out/$1"
	build "$1" && seeds "$out/$1" || return 1
	if (cd "$out/$1" && ASAN_OPTIONS=detect_leaks=0:handle_abort=1 "../bin-$1" \
		-max_total_time="$seconds" -rss_limit_mb=0 -max_len=4096 -len_control=10 -timeout=60 \
		-print_final_stats=1 -artifact_prefix=../"$1-" .) >"$out/$1.log" 2>&1; then
		echo "$1: nothing found in $(grep -a '^Done' "$out/$1.log")," \
			"$(grep -a -o 'cov: [0-9]*' "$out/$1.log" | tail -n 1)"
	else
		grep -a -v '^#' "$out/$1.log" | tail -n 60
		echo "$1: FOUND something: run ${out#"$PWD"/}/bin-$1 with the file named above"
		return 1
	fi
}

mkdir -p "$out"
command -v "$cc" >/dev/null || skip "no $cc with libFuzzer"
has_fuzzer || skip "no $cc with libFuzzer (Debian: clang and its libclang-rt-*-dev)"
build_library || exit 1
for target in $targets; do
	fuzz "$target" || exit 1
done
