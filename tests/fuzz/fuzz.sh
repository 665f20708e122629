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
targets=${*:-placement libc profile elf figures}
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

# Targets of heapview are linked with all of it but main.
build_tool() {
	# shellcheck disable=SC2046,SC2086 # the flags are words
	"$cc" $flags -fsanitize="fuzzer,$sanitizers" -I"$src" -I"$src/tools" -o "$out/bin-$1" \
		"$tests/fuzz/$1.c" $(find "$src/tools" -name '*.c' ! -name heapview.c)
}

build() {
	case $1 in
	profile | elf | figures | defect)
		build_tool "$1"
		return
		;;
	esac
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

# seeds_of TARGET: inputs of its format.
seeds_of() {
	case $1 in
	profile)
		for kind in small small-later empty hostile own 'large 3' 'deep 9'; do
			# shellcheck disable=SC2086 # a kind may have an argument
			"$out/make" $kind >"$out/profile/seed-${kind% *}"
		done
		;;
	elf)
		echo 'void f(void) {}' | "$cc" -shared -nostdlib -Wl,--build-id,-z,noseparate-code -o \
			"$out/elf/seed-shared" -xc - &&
			objcopy --add-gnu-debuglink="$out/elf/seed-shared" "$out/elf/seed-shared" \
				"$out/elf/seed-link"
		;;
	figures)
		printf '{"process":1,"time_ms":2,"live_bytes":3,"held_bytes":4,"classes":[{"size":16,"live":1}]}' \
			>"$out/figures/seed-body"
		printf 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}' >"$out/figures/seed-answer"
		;;
	defect)
		echo ab >"$out/defect/seed-ab"
		;;
	*)
		seeds "$out/$1"
		;;
	esac
}

# found TARGET: in one line, what the target and the sanitizers said, and the input, if it is small.
found() {
	input=$(sed -n 's|.*Test unit written to \.\./||p' "$out/$1.log" | tail -n 1)
	{
		sed '/ERROR: /q' "$out/$1.log" | grep -a -v -e '^#' -e '^=*$' -e 'DEADLYSIGNAL$' | tail -n 2
		grep -a -m 1 '^SUMMARY: ' "$out/$1.log"
		[ -z "$input" ] || [ "$(wc -c <"$out/$input")" -gt 1024 ] ||
			echo "input in base64: $(base64 -w 0 "$out/$input")"
	} | paste -s -d '|' -
}

# fuzz TARGET: the corpus that was found before is where it goes on.
fuzz() {
	mkdir -p "$out/$1"
	build "$1" && seeds_of "$1" || return 1
	# A shared object has some pages.
	[ "$1" = elf ] && max=20000 || max=4096
	if (cd "$out/$1" && ASAN_OPTIONS=detect_leaks=0:handle_abort=1 "../bin-$1" \
		-max_total_time="$seconds" -rss_limit_mb=0 -max_len="$max" -len_control=10 -timeout=60 \
		-print_final_stats=1 -artifact_prefix=../"$1-" .) >"$out/$1.log" 2>&1; then
		echo "$1: nothing found in $(grep -a '^Done' "$out/$1.log")," \
			"$(grep -a -o 'cov: [0-9]*' "$out/$1.log" | tail -n 1)"
	else
		grep -a -v '^#' "$out/$1.log" | tail -n 60
		echo "run ${out#"$PWD"/}/bin-$1 with the file named above"
		echo "$1: FOUND $(found "$1")"
		return 1
	fi
}

mkdir -p "$out"
command -v "$cc" >/dev/null || skip "no $cc with libFuzzer"
has_fuzzer || skip "no $cc with libFuzzer (Debian: clang and its libclang-rt-*-dev)"
# What writes profiles is no target.
"$cc" -O1 -D_GNU_SOURCE -o "$out/make" "$tests/tools/profile/make.c" || exit 1
case " $targets " in
*" placement "* | *" libc "*) build_library || exit 1 ;;
esac
for target in $targets; do
	fuzz "$target" || exit 1
done
