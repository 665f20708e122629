#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# The pages of heapview as Chromium draws them, beside the library's own walk of its list.

# shellcheck disable=SC2016,SC2034,SC2154,SC2317 # scripts of the page have ${}; functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"
# shellcheck source=heapview/common.sh
. "$here/heapview/common.sh"

it_makes_pages() {
	it_builds && page trace "$scratch/trace" && page map "$scratch/map" &&
		THREADS=1 OSMEM_OPTIONS=trace="$scratch/threads" "$scratch/program" >"$scratch/walk4" &&
		page threads "$scratch/threads"
}

# dump PAGE WIDTH OPTION…: what Chromium has made of it, into $scratch/dom; what the console says into
# $scratch/console.
dump() {
	file=$1 width=$2
	shift 2
	timeout 300 "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" \
		--enable-logging=stderr --v=0 --window-size="$width",900 --virtual-time-budget=3000 "$@" \
		--dump-dom "file://$file" >"$scratch/dom" 2>"$scratch/console" &&
		! grep 'CONSOLE' "$scratch/console" && grep -q 'data-check="ok"' "$scratch/dom" &&
		! grep -q 'data-error' "$scratch/dom"
}

# drawn FILE: the lines of FILE with blocks as they were drawn, as text.
drawn() {
	# shellcheck disable=SC2046,SC2183 # three words for each line
	printf '%#14x %12d %s\n' $(grep -o 'data-start="[0-9]*" data-size="[0-9]*" data-status="[0-9]*"' "$1" |
		awk -F '"' '{ print $2, $4, $6 == 0 ? "free" : $6 == 1 ? "used" : "mapped" }')
}

# with PAGE SCRIPT: the page, and a script behind it.
with() {
	sed '/<\/body>/d; /<\/html>/d' "$scratch/$1.html"
	echo '<script>'
	cat "$here/heapview/checks.js"
	printf '%s\nsayWidths();\n' "$2"
	echo '</script></body></html>'
}

# says NAME VALUE: what the script has said.
says() {
	grep -q "<body[^>]* data-$1=\"$2\"" "$scratch/dom" ||
		{ grep -o "<body[^>]*>" "$scratch/dom"; false; }
}

# fits WIDTH: what every script says of it; Chromium may have a larger least width.
fits() {
	says wide false && says small false && width=$(grep -o 'data-width="[0-9]*"' "$scratch/dom" | cut -d '"' -f 2) &&
		[ "$width" -ge "$1" ] && [ "$width" -le $(($1 > 500 ? $1 : 500)) ]
}

# The page is at the step of its address; then it goes through all of them. The page's own
# checkpoints agree with its steps.
draws_every_step() {
	with trace 'say("begin", document.body.dataset.step);
		say("lists", listsAgree());
		const all = document.createElement("pre");
		drawAllRows();
		for (let n = 0; n <= DATA.all; n++) {
			show(n);
			all.append(drawnBlocks("STEP" + n));
		}
		document.body.append(all);' >"$scratch/steps.html"
	dump "$scratch/steps.html#step=60" 1600 && says begin 60 && says lists true && fits 1600 || return 1
	steps=$(grep -o '"all":[0-9]*' "$scratch/trace.html" | cut -d : -f 2)
	for step in $(seq 0 7 "$steps") "$steps"; do
		list --step "$step" "$scratch/trace" >"$scratch/list"
		grep "^STEP$step " "$scratch/dom" >"$scratch/lines"
		[ -s "$scratch/list" ] || [ -s "$scratch/lines" ] || continue
		drawn "$scratch/lines" | diff "$scratch/list" - || return 1
	done
	diff "$scratch/walk" "$scratch/list"
}

# A map has its blocks and its pages, and no chart, as it has no calls.
draws_maps() {
	with map 'drawAllRows();
		say("charts", $("program").hidden);
		say("squares", views.length > 0 && views.every((v) => v.squares.length > 0));
		say("shares", $("shares").querySelectorAll("rect").length);' >"$scratch/wide.html"
	dump "$scratch/wide.html" 1600 && fits 1600 && says charts true && says squares true && says shares 4 || return 1
	drawn "$scratch/dom" | diff "$scratch/walk" -
}

steps_by_keys_and_buttons() {
	with trace 'const at = [], go = (what) => { what(); at.push(now); };
		for (const key of ["End", "Home", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "n", "n", "p", "n", "p", "p"])
			go(() => press(key));
		for (const id of ["forward", "forward", "back", "call-forward", "call-back"])
			go(() => $(id).click());
		$("slider").value = 40;
		$("slider").dispatchEvent(new Event("input"));
		say("slider", now);
		say("at", at.map((n, i) => n === STEP_COUNT ? "end" : n).join(" "));
		say("starts", CALLS.slice(0, 4).map((call) => call.first + 1).join(" "));
		say("row", document.querySelector("#calls [aria-selected=true]").textContent.startsWith(String(callOf[39] + 1)));
		document.querySelector("#calls .row:not([aria-selected=true])").click();
		say("clicked", CALLS.some((call) => call.first + 1 === now && callOf[39] !== callOf[now - 1]));
		$("play").click();
		say("plays", $("play").textContent);
		$("play").click();
		say("pauses", $("play").textContent);' >"$scratch/keys.html"
	dump "$scratch/keys.html" 360 && fits 360 && says starts '1 9 14 19' &&
		says at 'end 0 1 2 3 2 9 14 9 14 9 1 2 3 2 9 1' && says slider 40 && says row true && says clicked true &&
		says plays Pause && says pauses Play
}

# "Call 2 of 62: os_malloc(80), step 3 of 5", which threshold decides, plurals, and links to rules.
says_what_a_step_does() {
	with trace 'const texts = [];
		let links = 0, dead = 0;
		for (let n = 1; n <= STEP_COUNT; n++) {
			show(n);
			texts.push($("call").textContent + " " + $("words").textContent);
			for (const a of document.querySelectorAll("#words a")) {
				links++;
				dead += !document.querySelector(a.hash);
			}
		}
		const has = (part) => texts.some((t) => t.includes(part)), second = CALLS[1];
		show(second.first + 3);
		say("call", $("call").textContent);
		say("links", links > 50 && dead === 0);
		say("page", has("os_calloc(10, 500)") && has("not less than the page size, " + count(DATA.page) + ": it gets a mapping"));
		say("threshold", has("less than the mmap threshold, 131,072: it goes to the heap") && has("not less than the mmap threshold"));
		say("plurals", !texts.some((t) => /(^|[^\d,])1 (bytes|blocks|calls|steps|free blocks)\b/.test(t)));
		say("raw", !texts.some((t) => /0x[0-9a-f]{9,}/.test(t)) && has("heap+0x"));
		say("undefined", texts.some((t) => /undefined|NaN/.test(t)));' >"$scratch/words.html"
	dump "$scratch/words.html" 900 && fits 900 && says call 'Call 2 of [0-9]*: os_malloc(80), step 3 of 5' && says links true &&
		says page true && says threshold true && says plurals true && says raw true && says undefined false
}

# Candidates of a search have their tint, and the chosen one its frame, which is in view.
shows_searches() {
	with trace 'let wrong = 0, tinted = 0, hidden = 0;
		for (let n = 1; n <= STEP_COUNT; n++) {
			show(n);
			hidden += indexOf(listAt(n), touched(n)) >= 0 && !markIsInView();
			const s = stepAt(n - 1), isSearch = s.kind === STEP && s.what === 1;
			for (const g of document.querySelectorAll("#drawing g[data-start]")) {
				const isTinted = g.innerHTML.includes("p-candidate"), isFit = isSearch && g.dataset.status === "0" && Number(g.dataset.size) >= s.a;
				tinted += isTinted;
				wrong += isTinted !== isFit;
			}
		}
		say("tinted", tinted > 40 && wrong === 0);
		say("hidden", hidden);
		say("torn", document.querySelectorAll("#drawing path.body").length > 0);' >"$scratch/search.html"
	dump "$scratch/search.html" 360 && says tinted true && says hidden 0 && says torn true
}

# Labels of blocks and charts, at every tenth step.
labels_do_not_overlap() {
	for width in 360 900 1600; do
		with trace 'drawAllRows();
			const bad = new Set(allBadLabels());
			for (let n = 0; n <= STEP_COUNT; n += 10) {
				show(n);
				badLabels(layout.svg).concat(wideLabels()).forEach((text) => bad.add(text));
			}
			say("bad", [...bad].join("; "));
			say("labels", document.querySelectorAll("main svg text").length > 50);' >"$scratch/labels.html"
		dump "$scratch/labels.html" "$width" && fits "$width" && says bad '' && says labels true || return 1
	done
}

# In both schemes, which differ.
colours_have_contrast() {
	with trace 'say("low", lowContrasts().join("; "));
		say("back", colour("back"));' >"$scratch/contrast.html"
	dump "$scratch/contrast.html" 1600 && says low '' && says back '#ffffff' &&
		dump "$scratch/contrast.html" 1600 --blink-settings=preferredColorScheme=0 && says low '' && says back '#14161b'
}

# Calls of threads that are hidden are not in the list, and are skipped.
filters_threads() {
	with threads 'const boxes = [...$("threads").querySelectorAll("input")], before = shownCalls.length;
		say("threads", boxes.length);
		boxes[0].click();
		say("fewer", shownCalls.length > 0 && shownCalls.length < before && shownCalls.every((call) => call.thread !== 0));
		show(0);
		for (let i = 0; i < 100; i++)
			press("n");
		say("end", now === STEP_COUNT);
		let seen = new Set();
		show(0);
		for (let i = 0; i < 20; i++) {
			press("n");
			seen.add(CALLS[callOf[now - 1]].thread);
		}
		say("skipped", seen.size > 0 && !seen.has(0));
		say("dim", document.querySelectorAll("#drawing .dim").length > 10);
		say("named", $("call").textContent.includes("Call ") && $("call").querySelector(".dot").title.startsWith("thread "));' >"$scratch/filter.html"
	dump "$scratch/filter.html" 900 && says threads 4 && says fewer true && says end true && says skipped true && says dim true &&
		says named true
}

# The map begins with the peak; a slider shows other moments. Cached bytes are no live ones.
shows_moments() {
	LD_PRELOAD=$library OSMEM_OPTIONS=trace=$scratch/sort sort "$tests/run.sh" "$tests/run.sh" >"$scratch/out" &&
		page sort "$scratch/sort" || return 1
	with sort 'const lives = SNAPSHOTS.map((s) => s.live || 0), first = $("map-words").textContent;
		say("peak", lives.length > 2 && Number($("moment").value) === moment && lives[moment] === Math.max(...lives));
		say("named", /the most live bytes/.test(first) && / live, .* cached, .* free, .* metadata/.test(first));
		const other = SNAPSHOTS.findIndex((s, i) => i !== moment && s.cached > 0);
		$("moment").value = other;
		$("moment").dispatchEvent(new Event("input"));
		say("moved", $("map-words").textContent !== first && moment === other);
		const s = SNAPSHOTS[moment], total = {};
		views.forEach((v) => Object.entries(sumsOf(v.squares)).forEach(([kind, n]) => { total[kind] = (total[kind] || 0) + n; }));
		const near = (a, b) => Math.abs(a - b) <= 0.05 * s.held;
		say("shares", s.live + s.cached + s.free + s.metadata === s.held);
		say("squares", s.cached > 0 && near(total.cached, s.cached) && near(total.live + (total.mapped || 0), s.live));
		say("charts", ["timeline", "fragmentation", "sizes", "lives"].every((id) => $(id).querySelector("svg text")));
		say("bad", allBadLabels().join("; "));
		say("left", $("left-over").querySelectorAll("tbody tr").length === DATA.left.length && DATA.left.length > 0);
		const sizes = () => [...$("left-over").querySelectorAll("tbody td:first-child")].map((td) => parseInt(td.textContent.replace(/,/g, ""), 10));
		$("left-over").querySelector("th button").click();
		say("sorted", sizes().every((n, i, all) => !i || all[i - 1] >= n));' >"$scratch/moments.html"
	for width in 360 1600; do
		dump "$scratch/moments.html" "$width" && fits "$width" && says peak true && says named true && says moved true &&
			says shares true && says squares true && says charts true && says bad '' && says left true && says sorted true || return 1
	done
}

# What is live at the end: as many objects and bytes as a count of the records.
counts_what_is_left() {
	with trace 'const used = readList(DATA.end).filter((b) => b[2] > 0);
		const extra = DATA.liveCount - used.length; /* what stdio has allocated */
		say("count", extra >= 0 && extra <= 2 && DATA.left.reduce((n, r) => n + r[1], 0) === DATA.liveCount);
		say("bytes", DATA.left.reduce((n, r) => n + r[0] * r[1], 0) === DATA.liveBytes);' >"$scratch/left.html"
	dump "$scratch/left.html" 1600 && says count true && says bytes true
}

# Every square of the map has its words, and keys read them one by one; the player does not take part.
reads_the_map_by_keys() {
	with map 'const view = views[0], said = [], number = () => view.squares.findIndex((s) => squareWords(s) === view.line.textContent);
		view.canvas.focus();
		for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowDown"]) {
			press(key, view.canvas);
			said.push(number());
		}
		const last = view.squares.length - 1;
		say("said", said.join(" ") === [0, 1, 0, last, last, 0, Math.min(view.columns, last)].join(" "));
		say("enough", last >= 10);
		say("focus", document.activeElement === view.canvas);' >"$scratch/squares.html"
	dump "$scratch/squares.html" 360 && fits 360 && says focus true && says step 0 && says said true && says enough true
}

# spans KIND: bytes of the walk's spans that are live, or kept.
spans() {
	awk -v kind="$1" '$3 == kind { bytes += $2 } END { print bytes + 0 }' "$scratch/walk3"
}

# Every page of every span is a square that says so, and nothing else is.
draws_spans() {
	SPANS=1 "$scratch/program" "$scratch/spans" >"$scratch/walk3" && page spans "$scratch/spans" &&
		[ "$(spans live)" -gt 1000000 ] && [ "$(spans kept)" -gt 30000 ] || return 1
	with spans 'const squares = views.flatMap((v) => v.squares), of = (text) => squares.filter((s) => s.words.endsWith(text));
		const bytesOf = (some, kind) => some.reduce((n, s) => n + s.kinds[kind], 0), lines = document.createElement("pre");
		say("live", bytesOf(of(", live"), "live"));
		say("kept", bytesOf(of(", cached by a thread"), "cached"));
		lines.append(...squares.map((s) => "\nSQUARE " + squareWords(s)));
		say("mapping", $("areas").textContent.includes("malloc: mapping, 5.6 MiB"));
		say("key", $("map-key").textContent.includes("cached: freed"));
		document.body.append(lines);' >"$scratch/spans1.html"
	dump "$scratch/spans1.html" 1600 && fits 1600 && says live "$(spans live)" && says kept "$(spans kept)" &&
		says mapping true && says key true || return 1
	while read -r start bytes kind; do
		[ "$kind" = kept ] && words=', cached by a thread' || words=', live'
		grep "^SQUARE $start, .* 100 % .*; in a span of " "$scratch/dom" | grep -q "$words" || return 1
	done <"$scratch/walk3"
}

# What malloc had before it had spans: a region, a mapping with a header, a segment.
draws_maps_of_older_libraries() {
	"$scratch/older" >"$scratch/older.map" && page older "$scratch/older.map" || return 1
	with older 'const text = $("areas").textContent;
		say("spans", views.some((v) => v.squares.some((s) => s.words.includes("span"))));
		say("region", text.includes("malloc: region, 256 KiB: 64 KiB live"));
		say("mapping", views.some((v) => v.area.name === "malloc: mapping" && v.area.start === 0x7f0000800000));
		say("slab", views.some((v) => v.squares.some((s) => squareWords(s).includes("cells of 64 bytes: about 16 live, 0 cached"))));' >"$scratch/older1.html"
	dump "$scratch/older1.html" 1600 && fits 1600 && says spans false && says region true && says mapping true && says slab true
}

# 10^5 calls and more than a million records: a window of the steps, from one in the middle on; the
# last one is as it is in the text. Few elements are drawn.
shows_long_traces() {
	OSMEM_OPTIONS=trace="$scratch/long",trace_size=80M "$scratch/program" "$scratch/map2" 400000 60000 \
		>"$scratch/walk_long" && "$view" --step 50000 "$scratch/long" -o "$scratch/window.html" >/dev/null &&
		[ "$(stat -c %s "$scratch/window.html")" -lt 10000000 ] || return 1
	with window 'press("End");
		say("elements", document.querySelectorAll("*").length < 3000);
		drawAllRows();' >"$scratch/last.html"
	dump "$scratch/last.html" 360 && fits 360 && says elements true || return 1
	step=$(grep -o '<body[^>]* data-step="[0-9]*"' "$scratch/dom" | grep -o 'step="[0-9]*' | cut -d '"' -f 2)
	[ "$step" -gt 50000 ] && list --step "$step" "$scratch/long" >"$scratch/list" &&
		drawn "$scratch/dom" | diff "$scratch/list" -
}

# Without JavaScript the rules can be read, and a note says what is missing.
is_readable_without_scripts() {
	sed 's/<script>/<script type="none">/' "$scratch/trace.html" >"$scratch/none.html"
	grep -q '<noscript>.*heapview --text' "$scratch/none.html" && [ "$(grep -c '<li id="rule-' "$scratch/none.html")" -eq 18 ]
}

for chromium in chromium chromium-browser google-chrome ''; do
	has "$chromium" && break
done
expect it_makes_pages it_makes_pages
expect is_readable_without_scripts is_readable_without_scripts
for test in draws_every_step draws_maps steps_by_keys_and_buttons says_what_a_step_does shows_searches labels_do_not_overlap \
	colours_have_contrast filters_threads shows_moments counts_what_is_left reads_the_map_by_keys draws_spans \
	draws_maps_of_older_libraries shows_long_traces; do
	if [ "$chromium" ]; then
		expect $test $test
	else
		skip $test 'chromium is not installed'
	fi
done

finish
