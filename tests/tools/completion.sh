#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, heapview
#
# Bash completion for osmem-run and heapview, as bash asks for it.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

completion=$src/tools/completion

# offered COMMAND WORD…: what bash offers for the last word, one a line. "=" is a word of its own.
offered() {
	(cd "$scratch/folder" && bash -c '
		. "$1/$2"
		shift
		function=$(complete -p "$1" | sed "s/.*-F \([^ ]*\) .*/\1/")
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
		"$function" "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
		printf "%s\n" "${COMPREPLY[@]}"' bash "$completion" "$@")
}

# offers "WORDS" COMMAND WORD…: exactly these, in any order.
offers() {
	# shellcheck disable=SC2086 # words
	printf '%s\n' $1 | sort >"$scratch/want"
	shift
	offered "$@" | sort >"$scratch/got"
	cmp -s "$scratch/want" "$scratch/got" || {
		echo "$*: $(tr '\n' ' ' <"$scratch/got")"
		return 1
	}
}

registered() {
	for command in osmem-run heapview; do
		bash -c '. "$1/$2" && complete -p "$2"' bash "$completion" "$command" | grep -q -- "-F .* $command\$" ||
			return
	done
}

# The options are those of the help text.
osmem_run_options() {
	"$src/tools/osmem-run" --help | sed -n 's/^ *\(--[a-z][a-z]*\).*/\1/p' | sort -u >"$scratch/want"
	offered osmem-run -- | tr -d = | sort -u >"$scratch/got"
	cmp "$scratch/want" "$scratch/got"
}

# Every name that the library knows has an option, or takes a value and is offered with "=".
osmem_run_names() {
	LD_PRELOAD=$library OSMEM_OPTIONS='?' env 2>&1 | sed -n 's/.*the options are: //p' | tr -d ' ' |
		tr ',' '\n' >"$scratch/known"
	[ "$(wc -l <"$scratch/known")" -gt 20 ] || return
	while read -r option; do
		offered osmem-run "$option" | grep -qx "$option=" || offered osmem-run "--$option" | grep -q . ||
			[ "$option" = background ] || {
			echo "$option"
			return 1
		}
	done <"$scratch/known"
	offers 'profile= profile_interval= profile_growth=' osmem-run profile
}

osmem_run_values() {
	offers 'full' osmem-run --stats = fu && offers 'exit' osmem-run --leaks = &&
		offers 'abort warn' osmem-run misuse = && offers 'never' osmem-run trim_threshold = n
}

osmem_run_files() {
	offers 'trace.1 trace.2' osmem-run --trace = tr && offers 'trace.1 trace.2' osmem-run --stats map = trace
}

osmem_run_programs() {
	offered osmem-run --stats gre | grep -qx grep && offered osmem-run --trace = t -- gre | grep -qx grep &&
		offered osmem-run --course mmap_threshold = 64k gre | grep -qx grep &&
		! offered osmem-run -- --st | grep -q stats
}

# With bash-completion, its function gets the place of the program.
osmem_run_arguments() {
	got=$(bash -c '_command_offset() { echo "$1"; }
		. "$1/osmem-run"
		COMP_WORDS=(osmem-run --trace = t --stats cat tra) COMP_CWORD=6
		_osmem_run' bash "$completion") && [ "$got" = 5 ]
}

heapview_options() {
	"$src/tools/heapview" --help | sed -n 's/^ *\(--*[a-z][a-z]*\) .*/\1/p' | sort -u >"$scratch/want"
	offered heapview - | sort >"$scratch/got"
	cmp "$scratch/want" "$scratch/got"
}

heapview_files() {
	offers 'trace.1 trace.2' heapview --svg tr && offers 'a_folder' heapview --symbols a && offers '' heapview --step ''
}

mkdir -p "$scratch/folder/a_folder"
touch "$scratch/folder/trace.1" "$scratch/folder/trace.2" "$scratch/folder/a_file"
if has bash; then
	for test in registered osmem_run_options osmem_run_names osmem_run_values osmem_run_files \
		osmem_run_programs osmem_run_arguments heapview_options heapview_files; do
		expect "$test" "$test"
	done
else
	skip completion "bash is not installed"
fi
finish
