#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# heapview with heap profiles: as text, as pictures, and as Chromium draws them.

# shellcheck disable=SC2016,SC2317 # scripts of the page have ${}; functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
view=$scratch/heapview

it_builds() {
	"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -I"$src" -I"$src/tools" -o "$view" "$src"/tools/*.c &&
		"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -Wl,--build-id -o "$scratch/make" "$here/profile/make.c" || return 1
	# shellcheck disable=SC2046 # names of files
	"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -I"$src" -I"$src/tools" -o "$scratch/names" "$here/profile/names.c" \
		$(find "$src/tools" -name '*.c' ! -name heapview.c) || return 1
	for kind in small small-later empty hostile 'large 100000' 'deep 100000'; do
		# shellcheck disable=SC2086 # a kind may have an argument
		"$scratch/make" $kind >"$scratch/${kind% *}" || return 1
	done
}

# says FILE LINE…: the lines, with any blanks, are in that order in the text of a profile.
says() {
	"$view" --text "$1" >"$scratch/text" || return 1
	cat "$scratch/text"
	shift
	printf '%s\n' "$@" >"$scratch/wanted"
	sed 's/  */ /g; s/^ //' "$scratch/text" | grep -Fxf "$scratch/wanted" | cmp - "$scratch/wanted"
}

text_has_the_sums() {
	says "$scratch/small" '# live objects: 31433' '# live: 42.0 MiB' '# allocated objects: 832300' \
		'# allocated: 259.0 MiB' '24.0 MiB 24.0 MiB 57.1 % Cache::put shop' \
		'2.0 MiB 2.0 MiB 4.8 % json_value libjson.so.2' '1.0 MiB 25.0 MiB 59.5 % render_page shop' \
		'0 B 42.0 MiB 100.0 % main shop'
}

empty_profiles_say_so() {
	says "$scratch/empty" '# live: 0 B' '# no allocation was sampled' &&
		"$view" --svg "$scratch/empty" -o - | grep -q '</svg>' &&
		"$view" "$scratch/empty" -o - | grep -q '"samples":\[0,0\]'
}

differences_have_signs() {
	"$view" --diff --text "$scratch/small" "$scratch/small-later" | sed 's/  */ /g; s/^ //' >"$scratch/text" &&
		cat "$scratch/text" && grep -Fqx '# live: 89.0 MiB, was 42.0 MiB' "$scratch/text" &&
		grep -Fqx -e '+49.0 MiB +49.0 MiB Cache::put shop' "$scratch/text" &&
		grep -Fqx -e '-3.0 MiB -3.0 MiB load_config shop' "$scratch/text" &&
		grep -Fqx -e '+0 B +50.0 MiB serve shop' "$scratch/text" &&
		! grep json_parse "$scratch/text" &&
		"$view" --diff --text "$scratch/small" "$scratch/small" | grep -q 'nothing differs'
}

# Two functions that call each other 50,000 times each are two rows.
recursion_is_folded() {
	"$view" "$scratch/deep" -o "$scratch/deep.html" >/dev/null &&
		[ "$(grep -c visit "$scratch/deep.html")" -eq 1 ] &&
		[ "$(stat -c %s "$scratch/deep.html")" -lt 200000 ] &&
		says "$scratch/deep" '4.0 MiB 4.0 MiB 80.0 % visit deep' '0 B 4.0 MiB 80.0 % walk deep'
}

large_profiles_make_small_pages() {
	timeout 60 "$view" "$scratch/large" -o "$scratch/large.html" >/dev/null &&
		[ "$(stat -c %s "$scratch/large.html")" -lt 3000000 ] &&
		[ "$("$view" --svg "$scratch/large" -o - | wc -c)" -lt 400000 ]
}

# Go's are; and so is what nothing is told about.
compressed_profiles_are_read() {
	gzip -c "$scratch/small" >"$scratch/small.gz" && "$view" --text "$scratch/small.gz" >"$scratch/text" &&
		"$view" --text "$scratch/small" | cmp - "$scratch/text" &&
		head -c 200 "$scratch/small.gz" >"$scratch/cut.gz" &&
		refused 'gzip cannot decompress it' --text "$scratch/cut.gz"
}

# refused TEXT ARGUMENT…: exit status 1, and one line with the text.
refused() {
	text=$1
	shift
	"$view" "$@" >"$scratch/out" 2>"$scratch/err"
	[ $? -eq 1 ] && [ ! -s "$scratch/out" ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
		grep -q "$text" "$scratch/err"
}

# Cut at any place, and with any byte changed, it is read or refused in one line. A cut between two
# fields is no damage.
damaged_profiles_are_refused() {
	size=$(stat -c %s "$scratch/small")
	for cut in $(seq 1 37 $((size - 1))); do
		head -c "$cut" "$scratch/small" >"$scratch/cut"
		"$view" --text "$scratch/cut" >"$scratch/out" 2>"$scratch/err" && continue
		refused 'damaged profile: \|nor a profile' --text "$scratch/cut" || return 1
	done
	for at in $(seq 0 13 $((size - 1))); do
		cp "$scratch/small" "$scratch/changed"
		printf '\377' | dd of="$scratch/changed" bs=1 seek="$at" conv=notrunc 2>"$scratch/err"
		timeout 20 "$view" --text "$scratch/changed" >"$scratch/out" 2>"$scratch/err"
		[ $? -le 1 ] && [ "$(wc -l <"$scratch/err")" -le 1 ] || return 1
	done
	refused 'damaged profile: .*, at byte [0-9]' --diff "$scratch/small" "$scratch/cut" &&
		refused 'needs two' --diff "$scratch/small" && refused 'is for traces' --step 1 "$scratch/small"
}

# A static function of a stripped-down build, whose symbol only .symtab has.
library_profiles_have_names() {
	cat >"$scratch/leak.c" <<-EOT
		#include <stdlib.h>
		static __attribute__((noinline)) void *keep(size_t size)
		{
			void *volatile p = malloc(size);
			return p;
		}
		int main(void)
		{
			for (int i = 0; i < 8192; i++)
				if (!keep(1024))
					return 1;
			return 0;
		}
	EOT
	"$cc" -O1 -o "$scratch/leak" "$scratch/leak.c" &&
		LD_PRELOAD=$library OSMEM_OPTIONS=profile=$scratch/leaks,profile_interval=4k "$scratch/leak" &&
		"$view" --text "$scratch/leaks" >"$scratch/text" && cat "$scratch/text" &&
		sed 's/  */ /g' "$scratch/text" | grep -E '^ ([789]|10)\.[0-9] MiB ([789]|10)\.[0-9] MiB .* keep leak$' &&
		grep -q ' main  leak$' "$scratch/text" &&
		grep -A1 '^# .* live, the most of one call stack:$' "$scratch/text" |
		grep -q '^#   keep  leak+0x[0-9a-f]*$'
}

# own FILE [BUILD-ID]: a profile of that program's own functions, as text.
own() {
	program=$1
	shift
	"$program" own "$@" >"$scratch/own" && "$view" --symbols "$scratch/symbols" --text "$scratch/own" \
		>"$scratch/text" 2>"$scratch/err"
	sed 's/  */ /g' "$scratch/text"
	cat "$scratch/err"
}

has_names() {
	grep -q ' 3.0 MiB 3.0 MiB 60.0 % first_of_mine' "$scratch/out" && grep -q 'second_of_mine' "$scratch/out" &&
		! grep -q 'heapview:' "$scratch/out"
}

symbols_come_from_the_program() {
	own "$scratch/make" >"$scratch/out" && has_names && grep -q ' 1.0 MiB 1.0 MiB 20.0 % 0x1234$' "$scratch/out"
}

# The stripped program, and its debug file at each place in turn.
symbols_come_from_debug_files() {
	mkdir -p "$scratch/other" && objcopy --only-keep-debug "$scratch/make" "$scratch/other/stripped.debug" &&
		(cd "$scratch/other" && objcopy --strip-all --add-gnu-debuglink=stripped.debug ../make ../stripped) || return 1
	own "$scratch/stripped" >"$scratch/out"
	grep -q 'stripped has no symbols, and no debug file' "$scratch/out" && grep -q ' stripped+0x' "$scratch/out" || return 1
	id=$(readelf -n "$scratch/make" | sed -n 's/.*Build ID: //p')
	first=$(echo "$id" | cut -c 1-2) rest=$(echo "$id" | cut -c 3-)
	for place in stripped.debug .debug/stripped.debug "symbols/.build-id/$first/$rest.debug" \
		symbols/stripped.debug "symbols$scratch/stripped.debug"; do
		mkdir -p "$(dirname "$scratch/$place")" && cp "$scratch/other/stripped.debug" "$scratch/$place" || return 1
		own "$scratch/stripped" >"$scratch/out"
		has_names || return 1
		rm "$scratch/$place"
	done
}

# A profile from elsewhere: the program is in the folder of symbols.
symbols_come_from_a_folder() {
	mkdir -p "$scratch/symbols" "$scratch/away" && cp "$scratch/make" "$scratch/away/program" &&
		"$scratch/away/program" own >"$scratch/own" && mv "$scratch/away/program" "$scratch/symbols/program" &&
		"$view" --symbols "$scratch/symbols" --text "$scratch/own" | grep -q first_of_mine &&
		"$view" --text "$scratch/own" 2>&1 | grep -q 'program cannot be read' && rm "$scratch/symbols/program"
}

# Its addresses would mean other functions now.
rebuilt_programs_are_not_used() {
	own "$scratch/make" 0123456789abcdef >"$scratch/out"
	! grep -q of_mine "$scratch/out" && grep -q ' make+0x' "$scratch/out" &&
		grep -q 'make was built anew since the profile: its build id differs' "$scratch/out"
}

# Programs with wrong bytes all over are read without a crash.
damaged_programs_are_harmless() {
	"$scratch/make" own >"$scratch/own" && cp "$scratch/make" "$scratch/kept" && size=$(stat -c %s "$scratch/make") || return 1
	for step in $(seq 1 60); do
		cp "$scratch/kept" "$scratch/make.new"
		for at in $((step * 4)) $((size - step * 40)) $((size - step * 64 + 5)) $((step * 613 % size)); do
			printf '\377\177\200' | dd of="$scratch/make.new" bs=1 seek="$at" conv=notrunc 2>"$scratch/err"
		done
		head -c $((size - step * 97)) "$scratch/make.new" >"$scratch/make.cut"
		for program in "$scratch/make.new" "$scratch/make.cut"; do
			rm -f "$scratch/make" && mv "$program" "$scratch/make" || return 1
			timeout 20 "$view" --text "$scratch/own" >"$scratch/out" 2>"$scratch/err" || return 1
		done
	done
	rm -f "$scratch/make" && mv "$scratch/kept" "$scratch/make"
}

# demangled MANGLED NAME
demangled() {
	printf '%s\n' "$1" | "$scratch/names" | grep -Fx -e "$2"
}

names_are_readable() {
	demangled main main && demangled parse.cold parse && demangled parse.constprop.0.isra.1 parse &&
		demangled 'main.(*Server).handle' 'main.(*Server).handle' || return 1
	has_cxx || return 0
	demangled _ZN5Cache3putERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE10shared_ptrI4PageE Cache::put &&
		demangled _ZNSt6vectorIiSaIiEE9push_backERKi 'std::vector<int>::push_back' &&
		demangled _ZN12_GLOBAL__N_13runEi '(anonymous namespace)::run' && demangled _ZlsRSoi 'operator<<' &&
		demangled _Znwm 'operator new' && demangled _ZNK1AcvbEv 'A::operator bool' &&
		demangled _ZN3foo3barIiEEvT_ 'foo::bar<int>' && demangled _ZN1AclEi 'A::operator()' &&
		demangled _ZZ4mainENKUlvE_clEv 'main::{lambda()#1}::operator()' &&
		demangled _ZN5alloc3vec3run17h0123456789abcdefE alloc::vec::run
}

has_cxx() {
	ls /usr/lib*/libstdc++.so.6 /usr/lib/*/libstdc++.so.6 >/dev/null 2>&1 ||
		ls /usr/lib*/libc++abi.so.1 /usr/lib/*/libc++abi.so.1 >/dev/null 2>&1
}

# page NAME ARGUMENT…: nothing in it is fetched from anywhere.
page() {
	html=$scratch/$1.html
	shift
	"$view" "$@" -o "$html" >/dev/null && ! grep -E -n 'https?:|src=|url\([^#]|@import|fetch\(' "$html" &&
		[ "$(tail -n 1 "$html")" = '</html>' ]
}

pages_are_alone() {
	for kind in small empty hostile large deep; do
		page "$kind" "$scratch/$kind" || return 1
	done
	page diff --diff "$scratch/small" "$scratch/small-later"
}

# No name ends the script, reaches a terminal, or is no text in XML.
hostile_names_are_texts() {
	page hostile "$scratch/hostile" && [ "$(grep -c '</script>' "$scratch/hostile.html")" -eq 2 ] &&
		! grep -q '<img' "$scratch/hostile.html" && grep -q 'café' "$scratch/hostile.html" &&
		! "$view" --text "$scratch/hostile" | grep "$(printf '\033')" &&
		"$view" --svg "$scratch/hostile" -o - | grep -c '<script>' | grep -qx 0
}

# dump PAGE WIDTH SCRIPT: what Chromium makes of the page and a script behind it, into $scratch/dom.
dump() {
	{
		sed '/<\/body>/d; /<\/html>/d' "$scratch/$1.html"
		echo '<script>
			const press = (key, target) => (target || document.querySelector("#flame")).dispatchEvent(
				new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
			const pick = (name, value) => document.querySelector(`input[name=${name}][value="${value}"]`).click();
			const frames = () => [...document.querySelectorAll(".f")].map((e) => e.textContent);
			const note = (name, value) => { document.body.dataset[name] = value; };'
		printf '%s\n' "$3"
		echo 'note("wide", document.documentElement.scrollWidth > innerWidth); note("width", innerWidth);
			</script></body></html>'
	} >"$scratch/run.html"
	timeout 300 "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" \
		--enable-logging=stderr --v=0 --window-size="$2",900 --virtual-time-budget=3000 \
		--dump-dom "file://$scratch/run.html" >"$scratch/dom" 2>"$scratch/log" &&
		! grep 'CONSOLE' "$scratch/log" && ! grep -o 'data-error="[^"]*"' "$scratch/dom" &&
		grep -q 'data-check="ok"' "$scratch/dom" && noted wide false
}

# noted NAME VALUE: a script has noted it.
noted() {
	grep -o "data-$1=\"[^\"]*\"" "$scratch/dom"
	grep -q "data-$1=\"$2\"" "$scratch/dom"
}

chromium_draws_profiles() {
	dump small 1600 'note("all", frames()[0]); note("names", frames().includes("Cache::put"));
		note("largest", document.querySelector("#rows button").textContent);
		pick("what", 2); pick("unit", 0); note("objects", frames()[0]);' &&
		noted all 'all: 42 MiB' && noted names true && noted largest Cache::put &&
		noted objects 'all: 832,300 objects' && noted frames 11
}

# Frames are as wide as their share, and children do not leave their parents.
chromium_draws_to_scale() {
	dump large 900 'const part = (e) => [parseFloat(e.style.left), parseFloat(e.style.width)];
		let wrong = 0;
		for (const [i, e] of drawn) {
			const [x, w] = part(e), p = drawn.get(tree.parents[i]), [px, pw] = p ? part(p) : [0, 100];
			if (x < px - 0.01 || x + w > px + pw + 0.01 || Math.abs(w - 100 * now(i) / now(0)) > 0.01)
				wrong++;
		}
		note("wrong", wrong); note("many", drawn.size > 300);' && noted wrong 0 && noted many true
}

chromium_zooms_by_keys() {
	dump small 900 'const flame = document.querySelector("#flame");
		flame.focus();
		for (const key of ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"])
			press(key);
		note("first", document.body.dataset.cursor);
		press("ArrowLeft"); press("Enter");
		note("second", document.body.dataset.zoom + " " + document.querySelectorAll("#crumbs button").length);
		press("Escape"); note("third", document.body.dataset.zoom);
		press("ArrowUp"); press("ArrowUp"); note("fourth", document.body.dataset.cursor);
		press("/"); note("focus", document.activeElement.id);' &&
		noted first 'std::vector&lt;Order&gt;::_M_realloc_insert&lt;Order const&amp;&gt;' && noted second 'render_page 5' &&
		noted third serve && noted fourth __libc_start_main && noted focus search
}

chromium_zooms_by_clicks() {
	dump small 900 '[...document.querySelectorAll(".f")].find((e) => e.textContent === "serve").click();
		note("inside", document.body.dataset.zoom);
		document.querySelector("#crumbs button").click(); note("outside", document.body.dataset.zoom);' &&
		noted inside serve && noted outside all
}

chromium_names_the_largest_stack() {
	dump small 900 'pick("order", "up"); document.querySelector("#tiles button").click();
		note("said", document.querySelector("#tiles button").textContent);
		note("inside", document.body.dataset.zoom); note("path", document.querySelectorAll("#crumbs button").length);' &&
		noted said 'Cache::put ← render_page ← serve ← main' && noted inside Cache::put && noted path 6 &&
		dump diff 900 'note("said", [...document.querySelectorAll("#tiles button")].map((b) => b.textContent).join("; "));' &&
		noted said 'Cache::put ← render_page ← serve ← main; load_config ← main'
}

# What is below a match is not counted twice.
chromium_searches() {
	dump small 900 'const s = document.querySelector("#search");
		const type = (text) => { s.value = text; s.dispatchEvent(new Event("input")); };
		type("SHOP"); note("module", document.querySelector("#matched").textContent);
		type("render"); note("render", document.querySelector("#matched").textContent);
		note("marked", document.querySelectorAll(".f.match").length); note("found", document.body.dataset.rows);
		type("nowhere"); note("none", document.querySelector("#matched").textContent);
		press("Escape", s); note("cleared", s.value + document.body.dataset.rows);' &&
		noted module 'matched: 100.0 %' && noted render 'matched: 59.5 %' && noted marked 1 &&
		noted found 1 && noted none 'no match' && noted cleared 11
}

chromium_draws_from_the_bottom_up() {
	dump small 900 'pick("order", "up");
		const leaves = [...drawn].filter(([, e]) => e.style.top === "21px").sort((a, b) => parseFloat(a[1].style.left) - parseFloat(b[1].style.left)).map(([i]) => nameOf(i)[0]);
		note("leaves", leaves.slice(0, 3).join(" ")); note("all", frames()[0]);' &&
		noted leaves 'Cache::put std::vector&lt;Order&gt;::_M_realloc_insert&lt;Order const&amp;&gt; load_config' && noted all 'all: 42 MiB'
}

chromium_sorts_the_table() {
	dump small 900 'const heads = () => document.querySelectorAll("#heads button"), rows = () =>
			[...document.querySelectorAll("#rows button")].map((b) => b.textContent);
		heads()[2].click(); note("calls", rows()[0]);
		heads()[0].click(); note("first", rows()[0]); note("sorted", document.querySelector("#heads [aria-sort]").textContent);
		document.querySelectorAll("#rows button")[1].click(); note("asked", document.querySelector("#search").value);' &&
		noted calls __libc_start_main && noted first __libc_start_main && noted sorted 'Function ▴' &&
		noted asked Cache::put
}

chromium_draws_differences() {
	dump diff 900 'const of = (name) => [...drawn].find(([i]) => nameOf(i)[0] === name);
		note("grown", of("Cache::put")[1].style.getPropertyValue("--hue")); note("text", of("Cache::put")[1].textContent);
		note("shrunk", of("load_config")[1].style.getPropertyValue("--hue"));
		note("same", of("json_parse") === undefined);
		note("share", Math.round(of("load_config")[1].style.width.slice(0, -1) * 53 / 3));
		pick("width", "new"); note("gone", of("load_config") === undefined); note("there", of("json_parse") !== undefined);' &&
		noted grown 0 && noted text 'Cache::put +49 MiB' && noted shrunk 215 && noted same true && noted share 100 &&
		noted gone true && noted there true
}

chromium_fits_small_windows() {
	for kind in small large deep hostile empty diff; do
		dump "$kind" 360 '' || return 1
	done
	noted width '[0-9]*' && dump empty 360 'note("hidden", document.querySelector("#graph").hidden);
		note("said", document.querySelector("#summary").textContent.slice(0, 25));' &&
		noted hidden true && noted said 'No allocation was sampled'
}

# Text on frames, on marked ones and on the page, in light and in dark.
chromium_has_contrast() {
	for scheme in 0 1; do
		for kind in large diff; do
			with_scheme "$scheme" "$kind" || return 1
		done
	done
}

# with_scheme SCHEME KIND: 0 is dark, 1 is light.
with_scheme() {
	chromium_was=$chromium
	printf '#!/bin/sh\nexec %s --blink-settings=preferredColorScheme=%s "$@"\n' "$chromium" "$1" >"$scratch/chromium" &&
		chmod +x "$scratch/chromium"
	chromium=$scratch/chromium
	dump "$2" 1600 'document.querySelector("#search").value = "parse";
		const light = (c) => { const v = c.match(/[0-9.]+/g).slice(0, 3).map((x) => x / 255).map((x) =>
			x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
		const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
			if (!/, 0\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
		const least = () => Math.min(...[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() &&
			[...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())).map((e) => {
				const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
				return (a + 0.05) / (b + 0.05); }));
		const calm = least(); search("parse"); const marked = least();
		note("contrast", Math.min(calm, marked) >= 4.5 ? "enough" : calm + " " + marked);' && noted contrast enough
	status=$?
	chromium=$chromium_was
	return "$status"
}

expect it_builds it_builds
for test in text_has_the_sums empty_profiles_say_so differences_have_signs recursion_is_folded \
	large_profiles_make_small_pages damaged_profiles_are_refused library_profiles_have_names symbols_come_from_the_program \
	symbols_come_from_a_folder rebuilt_programs_are_not_used damaged_programs_are_harmless names_are_readable \
	pages_are_alone hostile_names_are_texts; do
	expect $test $test
done
if has gzip; then
	expect compressed_profiles_are_read compressed_profiles_are_read
else
	skip compressed_profiles_are_read 'gzip is not installed'
fi
if has objcopy readelf; then
	expect symbols_come_from_debug_files symbols_come_from_debug_files
else
	skip symbols_come_from_debug_files 'objcopy and readelf are not installed'
fi

for chromium in chromium chromium-browser google-chrome ''; do
	has "$chromium" && break
done
for test in chromium_draws_profiles chromium_draws_to_scale chromium_zooms_by_keys chromium_zooms_by_clicks \
	chromium_names_the_largest_stack chromium_searches chromium_draws_from_the_bottom_up chromium_sorts_the_table chromium_draws_differences \
	chromium_fits_small_windows chromium_has_contrast; do
	if [ "$chromium" ]; then
		expect $test $test
	else
		skip $test 'chromium is not installed'
	fi
done

finish
