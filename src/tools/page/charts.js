/* ---- Charts: curves, histograms, tables ---- */

const TICK = "11px system-ui, sans-serif";

/* Units of an axis, from small to large: [size, name]. */
const AXES = {
	bytes: UNITS.map((name, k) => [1024 ** k, " " + name]),
	time: [[1, " ns"], [1e3, " µs"], [1e6, " ms"], [1e9, " s"], [6e10, " min"], [36e11, " h"]],
	percent: [[0.01, " %"]],
	count: [[1, ""]],
};

/* 1, 2 or 5 times a power of ten, so that about n steps reach most. */
function roundStep(most, n) {
	const rough = most / n, power = 10 ** Math.floor(Math.log10(rough)), part = rough / power;
	return (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10) * power;
}

/* The ticks from 0 to most: [value, label]. */
function ticksOf(axis, most, n) {
	const [size, name] = AXES[axis].filter((u) => u[0] <= most).pop() || AXES[axis][0];
	let step = roundStep(most / size, n);
	if (axis === "count")
		step = Math.max(1, step);
	const ticks = [];
	for (let k = 0; k * step * size <= most * 1.0001; k++)
		ticks.push([k * step * size, k === 0 ? "0" : Number((k * step).toPrecision(6)).toLocaleString("en") + name]);
	return ticks;
}

/* A frame with axes: x(value) and y(value) are places in pixels. Labels that would touch are left out. */
function frame(id, {xAxis, xMost, yAxis, yMost, right, height, label}) {
	const width = Math.max(280, $(id).clientWidth || 600), bottom = height - 24, top = 12;
	const yTicks = ticksOf(yAxis, yMost, 5), left = 10 + Math.max(...yTicks.map((t) => textWidth(t[1], TICK)));
	const f = {svg: svg("svg", {viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": label}), width, height, left, top, bottom, end: width - right};
	f.x = (v) => left + (f.end - left) * v / xMost;
	f.y = (v) => bottom - (bottom - top) * v / yMost;
	for (const [v, text] of yTicks)
		f.svg.append(svg("path", {class: v ? "grid" : "axis", d: "M" + left + " " + f.y(v) + "H" + f.end}),
			svg("text", {class: "tick", x: left - 6, y: f.y(v) + 4, "text-anchor": "end"}, text));
	if (xAxis)
		placeLabels(f, ticksOf(xAxis, xMost, f.width / 110).map(([v, text]) => [f.x(v), text]));
	$(id).querySelectorAll("svg").forEach((old) => old.remove());
	$(id).append(f.svg);
	return f;
}

/* Labels [x, text] below the axis, each centred, with a tick; one that would touch its neighbour is left out. */
function placeLabels(f, labels) {
	let free = -Infinity;
	for (const [x, text] of labels) {
		const half = textWidth(text, TICK) / 2, at = Math.min(x, f.width - half - 1);
		if (at - half < free)
			continue;
		free = at + half + 8;
		f.svg.append(svg("path", {class: "axis", d: "M" + x + " " + f.bottom + "v4"}),
			svg("text", {class: "tick", x: at, y: f.bottom + 17, "text-anchor": "middle"}, text));
	}
}

/* Names at the right ends of curves: {name, ink, at}, moved apart so that none touch. */
function placeNames(f, names) {
	const sorted = names.filter((n) => Number.isFinite(n.at)).sort((a, b) => a.at - b.at), GAP = 15;
	let free = f.top;
	for (const n of sorted)
		free = (n.at = Math.max(n.at, free)) + GAP;
	let limit = f.bottom;
	for (const n of sorted.reverse()) {
		n.at = Math.min(n.at, limit);
		limit = n.at - GAP;
		f.svg.append(svg("text", {class: "direct", x: f.end + 8, y: n.at + 4, style: "fill:var(--" + n.ink + ")"}, n.name));
	}
}

const pathOf = (f, points) => points.map((p) => f.x(p[0]).toFixed(1) + " " + f.y(p[1]).toFixed(1)).join("L");

/* Curves {name, ink, dash, points} and bands {name, ink, fill, points, base}, with their names at the right. */
function drawCurves(id, yAxis, curves, label, yMost) {
	const right = 16 + Math.max(...curves.map((c) => textWidth(c.name, BOLD))), names = [];
	const f = frame(id, {xAxis: "time", xMost: Math.max(1, DATA.endTime), yAxis, yMost, right, height: 260, label});
	for (const c of curves) {
		const last = c.points[c.points.length - 1], base = c.base ? c.base[c.base.length - 1][1] : last[1];
		if (c.base)
			f.svg.append(svg("path", {style: "fill:var(--" + c.fill + ")", d: "M" + pathOf(f, c.points) + "L" + pathOf(f, c.base.slice().reverse()) + "z"}));
		f.svg.append(svg("path", {class: "curve", style: "stroke:var(--" + c.ink + ")", "stroke-dasharray": c.dash || "none", d: "M" + pathOf(f, c.points)}));
		names.push({name: c.name, ink: c.ink, at: f.y((last[1] + base) / 2)});
	}
	placeNames(f, names);
}

/* Bands on top of each other, from figures with shares. */
function shareBands(figures) {
	const kinds = [["live", 1], ["cached", 4], ["free", 5], ["metadata", 6]], bands = [];
	let base = figures.map((p) => [p[0], 0]);
	for (const [name, k] of kinds.filter(([, n]) => figures.some((p) => p[n]))) {
		const points = figures.map((p, i) => [p[0], base[i][1] + p[k]]);
		bands.push({name, fill: name, ink: name + "-ink", points, base});
		base = points;
	}
	return bands;
}

function drawTimeline() {
	const figures = DATA.figures, hasShares = figures.length > 1 && figures.every((p) => p.length > 4), of = (k) => figures.map((p) => [p[0], p[k]]);
	const curves = hasShares ? shareBands(figures) : figures.length > 1 ? [{name: "live", ink: "live-ink", points: of(1)}, {name: "held", ink: "mapped-ink", points: of(2)}] : [];
	if (DATA.live.length)
		curves.push({name: "requested", ink: "text", dash: "2 3", points: DATA.live.concat([[DATA.endTime, DATA.live[DATA.live.length - 1][1]]])});
	const most = Math.max(1, ...curves.flatMap((c) => c.points.map((p) => p[1])));
	const resident = of(3).filter((p) => p[1]), top = Math.max(0, ...resident.map((p) => p[1]));
	if (top && top < 3 * most)
		curves.push({name: "resident", ink: "mark", dash: "8 4", points: resident});
	$("timeline").hidden = !curves.length;
	if (!curves.length)
		return;
	drawCurves("timeline", "bytes", curves, "Memory over time", Math.max(most, top < 3 * most ? top : 0) * 1.05);
	$("timeline").append(html("p", {class: "quiet"}, (hasShares ? "Held from the kernel: live + cached + free + metadata. " : "") +
		"Requested: what the program asked for and has not freed." + (top >= 3 * most ? " The whole process had up to " + bytes(top) + " resident." : "")));
}

function drawFragmentation() {
	const points = DATA.figures.filter((p) => p[2]).map((p) => [p[0], Math.max(0, 1 - p[1] / p[2])]);
	$("fragmentation").hidden = points.length < 2;
	$("timeline").className = points.length < 2 ? "chart all" : "chart wide";
	if (points.length < 2)
		return;
	const last = points[points.length - 1][1];
	drawCurves("fragmentation", "percent", [{name: Math.round(100 * last) + " %", ink: "mark", points}], "The part of held memory that is not live", 1);
	$("fragmentation").append(html("p", {class: "quiet"}, "The part of the held memory that is not live."));
}

/* Labels of an axis of powers of two from 2 ** first on: of bytes these powers, of time 1, 2 and 5 times powers of ten. */
function roundBounds(first, last, format) {
	if (format === bytes)
		return Array.from({length: last - first + 2}, (_, k) => [2 ** (first + k), format(2 ** (first + k))]);
	const labels = [];
	for (let power = 1; power < 2 ** (last + 1); power *= 10)
		labels.push(...[power, 2 * power, 5 * power].filter((v) => v >= 2 ** first && v <= 2 ** (last + 1)).map((v) => [v, format(v)]));
	return labels;
}

/* Counts by powers of two. */
function drawHistogram(id, counts, format, word, label) {
	const first = counts.findIndex((n) => n), last = counts.findLastIndex((n) => n), most = Math.max(...counts);
	$(id).hidden = first < 0;
	if (first < 0)
		return;
	const bins = last - first + 1, f = frame(id, {xMost: Math.max(bins, 4), yAxis: "count", yMost: most * 1.12, right: 8, height: 220, label});
	const w = f.x(1) - f.x(0);
	placeLabels(f, roundBounds(first, last, format).map(([v, text]) => [f.x(Math.log2(v) - first), text]));
	for (let k = 0; k < bins; k++) {
		const n = counts[first + k], text = count(n);
		if (!n)
			continue;
		f.svg.append(svg("rect", {x: f.x(k) + 1, y: Math.min(f.y(n), f.bottom - 1), width: w - 2, height: Math.max(1, f.bottom - f.y(n)), style: "fill:var(--live);stroke:var(--live-ink)"},
			svg("title", {}, format(2 ** (first + k)) + " or more, less than " + format(2 ** (first + k + 1)) + ": " + plural(n, word))));
		if (textWidth(text, TICK) < w)
			f.svg.append(svg("text", {class: "tick", x: f.x(k) + w / 2, y: f.y(n) - 4, "text-anchor": "middle"}, text));
	}
}

/* ---- Tables that can be sorted ---- */

/* columns: [name, value of a row for sorting, text]. Rows begin in the order of column by, the largest first. */
function drawTableOf(id, label, columns, rows, by, note) {
	const body = html("tbody", {}), buttons = columns.map(([name], k) => html("button", {type: "button"}, name));
	function sort(k) {
		buttons.forEach((b, i) => i === k ? b.setAttribute("aria-sort", "descending") : b.removeAttribute("aria-sort"));
		body.replaceChildren(...rows.slice().sort((a, b) => columns[k][1](b) - columns[k][1](a)).map((row) => tableRow(columns.map((c) => c[2](row)))));
	}
	buttons.forEach((button, k) => button.addEventListener("click", () => sort(k)));
	sort(by);
	$(id).querySelectorAll(".scroll, p").forEach((old) => old.remove());
	$(id).append(html("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": label},
		html("table", {}, html("thead", {}, html("tr", {}, ...buttons.map((b) => html("th", {}, b)))), body)));
	if (note)
		$(id).append(html("p", {class: "quiet"}, note));
}

function drawLeftOver() {
	const age = (time) => DATA.endTime - time, rows = DATA.left;
	$("left-over").hidden = !DATA.calls;
	if (!DATA.calls)
		return;
	if (!rows.length) {
		$("left-over").append(html("p", {}, "Nothing: the program freed all that it allocated while it was traced."));
		return;
	}
	const note = plural(DATA.liveCount, "object") + ", " + bytes(DATA.liveBytes) + " as requested." + (DATA.leftSizes > rows.length ?
		" The table has the " + count(rows.length) + " sizes with the most bytes, of " + count(DATA.leftSizes) + "." : "") +
		" The age is the time from the allocation to the end.";
	drawTableOf("left-over", "Still live at the end", [["size", (r) => r[0], (r) => exact(r[0])], ["objects", (r) => r[1], (r) => count(r[1])],
		["bytes", (r) => r[0] * r[1], (r) => count(r[0] * r[1])], ["oldest", (r) => age(r[2]), (r) => duration(age(r[2]))],
		["median age", (r) => age(r[3]), (r) => duration(age(r[3]))], ["youngest", (r) => age(r[4]), (r) => duration(age(r[4]))]], rows, 2, note);
}

function drawTop() {
	$("top").hidden = !DATA.top.length;
	if (DATA.top.length)
		drawTableOf("top", "Sizes with the most bytes", [["size", (r) => r[0], (r) => exact(r[0])], ["calls", (r) => r[1], (r) => count(r[1])],
			["bytes in all", (r) => r[2], (r) => count(r[2])]], DATA.top, 2);
}

function drawProgram() {
	const hasCurves = DATA.calls > 0 || DATA.figures.length > 1;
	$("program").hidden = !hasCurves;
	if (!hasCurves)
		return;
	document.querySelectorAll("#program .chart p").forEach((p) => p.remove());
	drawTimeline();
	drawFragmentation();
	drawHistogram("sizes", DATA.bySize, bytes, "call", "Calls by requested size, powers of two");
	drawHistogram("lives", DATA.byLife, duration, "object", "Objects by lifetime, powers of two");
}
