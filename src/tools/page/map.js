/* ---- The heap as pages, at a moment that has a snapshot ---- */

const SEGMENT = 4194304, SLOT = 65536, SQUARES = 1024, AREAS_MAX = 64;
const REASONS = ["at the start", "at the end", "on request", ""];

/* What a square can be, with its colour and its words. */
const KINDS = {
	live: ["live", "live"], cached: ["cached", "cached: freed, and kept for the next object of its size"],
	free: ["free", "free, in a slab, block or reserve"], dirty: ["free", "free page that the kernel can have back"],
	metadata: ["metadata", "metadata"], mapped: ["mapped", "live mapping"], unused: ["unused", "never used, or given back"],
};

const pages = (n) => Math.ceil(n / DATA.page) * DATA.page;

/* An area [start, end) with the ranges in it: {start, end, shares: {live, cached, …} of each byte, words}. */
function newArea(name, start, end) {
	return {name, start, end, ranges: []};
}

const rangeOf = (start, end, shares, text) => ({start, end, shares, words: text});

/* Of the cells of each size that are out, the part that is cached. */
function cachedParts(records) {
	const out = new Map(), parts = new Map();
	for (const [kind, , , b, c] of records)
		if (kind === 22 && !(BigInt("0x" + c) >> 48n)) {
			const cell = Number(BigInt("0x" + b) & 0xffffffffn);
			out.set(cell, (out.get(cell) || 0) + Number(BigInt("0x" + c) >> 32n & 0xffffn));
		}
	for (const [kind, , cell, b] of records)
		if (kind === 25)
			parts.set(cell, Math.min(1, parseInt(b, 16) / (out.get(cell) || 1)));
	return parts;
}

/* A slab: what its cells are, on average. */
function slabRange(start, b, c, parts) {
	const low = 0xffffffffn, cell = Number(b & low), size = SLOT * Number(b >> 32n), cells = Number(c & 0xffffn), out = Number(c >> 32n & 0xffffn);
	if (c >> 48n)
		return rangeOf(start, start + size, {metadata: 1}, "a slab of the library's own objects");
	const cached = (parts.get(cell) || 0) * out, live = (out - cached) * cell / size;
	return rangeOf(start, start + size, {live, cached: cached * cell / size, free: 1 - out * cell / size}, "a slab of " + plural(cells, "cell") + " of " +
		exact(cell) + ": about " + count(out - cached) + " live, " + count(cached) + " cached, " + count(cells - out) + " free");
}

function spanRange(start, size, isLive) {
	return rangeOf(start, start + size, isLive ? {live: 1} : {cached: 1}, "a span of " + bytes(size) + (isLive ? ", live" : ", cached by a thread"));
}

/* A mapping of os_malloc ends with its payload. One of malloc may have guard pages, which are not drawn. */
function mappingArea(heap, start, payload, size) {
	const end = start + (heap === 0 ? META : 0) + payload;
	const area = newArea(heap === 0 ? "os_malloc: mapping" : "malloc: mapping", heap === 0 ? end - size : start - start % DATA.page, pages(end));
	area.ranges.push(rangeOf(start, end, {mapped: 1}, "a block of " + exact(payload) + " with its own mapping"));
	area.isMapping = true;
	return area;
}

function segmentArea(start, dirty) {
	const area = newArea("malloc: segment", start, start + SEGMENT);
	for (let slot = 1; slot < 64; slot++)
		if (dirty >> BigInt(slot) & 1n)
			area.ranges.push(rangeOf(start + slot * SLOT, start + (slot + 1) * SLOT, {dirty: 1}, "free, and some of these 64 KiB are dirty"));
	area.ranges.push(rangeOf(start, start + SLOT, {metadata: 1}, "the segment's header"));
	return area;
}

/* Add a block of a region: its header, and its payload. */
function addBlock(area, start, payload, isUsed) {
	area.ranges.push(rangeOf(start, start + META, {metadata: 1}, ""),
		rangeOf(start + META, start + META + payload, isUsed ? {live: 1} : {free: 1}, ""));
}

/* The areas of a snapshot; mappings come last. Only traces of older libraries have regions and blocks of malloc. */
function areasOf(records) {
	const areas = [], mapped = [], parts = cachedParts(records);
	let area = null;
	for (const [kind, heap, a, b, c] of records) {
		if (kind === 18)
			areas.push(area = newArea(heap ? "malloc: region" : "os_malloc: region", a, Math.max(parseInt(b, 16), parseInt(c, 16))));
		else if (kind === 19 && area)
			addBlock(area, a, parseInt(b, 16), c !== "0");
		else if (kind === 20)
			mapped.push(mappingArea(heap, a, parseInt(b, 16), parseInt(c, 16)));
		else if (kind === 21)
			areas.push(area = segmentArea(a, BigInt("0x" + c)));
		else if (kind === 22 && area)
			area.ranges.push(slabRange(a, BigInt("0x" + b), BigInt("0x" + c), parts));
		else if (kind === 24 && area)
			area.ranges.push(spanRange(a, parseInt(b, 16), c !== "0"));
	}
	return areas.concat(mapped);
}

/* The squares of an area: {at, size, bytes of each kind, words}. Later ranges cover earlier ones where they are whole squares. */
function squaresOf(area) {
	const size = Math.max(DATA.page, pages(Math.ceil((area.end - area.start) / SQUARES))), squares = [];
	for (let at = area.start; at < area.end; at += size)
		squares.push({at, size: Math.min(size, area.end - at), kinds: {}, words: ""});
	for (const r of area.ranges)
		for (let i = Math.floor((r.start - area.start) / size); i < squares.length && squares[i].at < r.end; i++)
			if (i >= 0)
				cover(squares[i], r);
	return squares;
}

function cover(square, range) {
	const part = Math.min(range.end, square.at + square.size) - Math.max(range.start, square.at);
	if (part >= square.size)
		square.kinds = {};
	for (const kind in range.shares)
		square.kinds[kind] = (square.kinds[kind] || 0) + part * range.shares[kind];
	square.words = range.words || square.words;
}

function squareWords(square) {
	const parts = Object.keys(KINDS).filter((kind) => square.kinds[kind] > 0.5)
		.map((kind) => Math.round(100 * square.kinds[kind] / square.size) + " % " + (kind === "dirty" ? "dirty" : kind));
	return hex(square.at) + ", " + bytes(square.size) + ": " + (parts.join(", ") || "never used, or given back") + (square.words ? "; in " + square.words : "");
}

/* The bytes of each kind in an area. */
function sumsOf(squares) {
	const sums = {};
	for (const s of squares)
		for (const kind in s.kinds)
			sums[kind] = (sums[kind] || 0) + s.kinds[kind];
	return sums;
}

const BELOW = ["metadata", "live", "mapped", "cached", "free", "dirty"]; /* the order in a square, from below */

function drawSquare(context, square, x, y, side, colours) {
	context.fillStyle = colours.unused;
	context.fillRect(x, y, side, side);
	let from = y + side;
	for (const kind of BELOW) {
		const part = (square.kinds[kind] || 0) / square.size * side;
		if (!part)
			continue;
		context.fillStyle = colours[kind];
		context.fillRect(x, from - part, side, part);
		from -= part;
	}
}

/*
 * A row has a power of two of squares, so that the slots of a segment are aligned; as many as fit, unless the area would
 * be flat. Few squares are large.
 */
function gridOf(squares, width) {
	for (let columns = 256; columns > 8; columns /= 2) {
		const side = Math.min(24, Math.floor(width / columns));
		if (side >= 5 && Math.ceil(squares.length / columns) * side >= 60)
			return {side, columns};
	}
	return {side: 24, columns: 8};
}

/* Draw an area into its canvas, with the selected square outlined. */
function paint(view) {
	const {canvas, squares, columns, side} = view, rows = Math.ceil(squares.length / columns), colours = {};
	const width = Math.min(columns, squares.length) * side, context = prepare(canvas, width, rows * side);
	canvas.style.width = width + "px";
	for (const kind in KINDS)
		colours[kind] = colour(KINDS[kind][0]);
	squares.forEach((s, i) => drawSquare(context, s, i % columns * side, Math.floor(i / columns) * side, side - 1, colours));
	if (view.at >= 0) {
		context.strokeStyle = colour("mark");
		context.lineWidth = 2;
		context.strokeRect(view.at % columns * side, Math.floor(view.at / columns) * side, side - 1, side - 1);
	}
}

function select(view, i) {
	view.at = Math.max(0, Math.min(view.squares.length - 1, i));
	view.line.textContent = squareWords(view.squares[view.at]);
	paint(view);
}

function squareAt(view, event) {
	const box = view.canvas.getBoundingClientRect();
	return Math.floor((event.clientY - box.top) / view.side) * view.columns + Math.min(view.columns - 1, Math.floor((event.clientX - box.left) / view.side));
}

/* Keys and pointers select squares. */
function listen(view) {
	view.canvas.addEventListener("keydown", (event) => {
		const at = view.at, moves = {ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - view.columns, ArrowDown: at + view.columns, Home: 0, End: view.squares.length - 1};
		if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in moves))
			return;
		select(view, at < 0 && event.key !== "End" ? 0 : moves[event.key]);
		event.preventDefault();
	});
	for (const name of ["click", "pointermove"])
		view.canvas.addEventListener(name, (event) => squareAt(view, event) < view.squares.length && select(view, squareAt(view, event)));
}

function areaWords(area, squares) {
	const sums = sumsOf(squares), parts = Object.keys(KINDS).filter((kind) => sums[kind] >= 1).map((kind) => bytes(sums[kind]) + " " + kind);
	return area.name + ", " + bytes(area.end - area.start) + ": " + (parts.join(", ") || "unused") + ". A square is " + bytes(squares[0].size) + ".";
}

function areaView(area, width) {
	const squares = squaresOf(area), text = areaWords(area, squares), canvas = html("canvas", {tabindex: 0, role: "img", "aria-label": text});
	const view = {area, squares, canvas, ...gridOf(squares, width), at: -1, line: html("p", {class: "square", "aria-live": "polite"})};
	view.element = html("div", {class: "area"}, html("p", {}, html("b", {title: hex(area.start)}, text.split(",")[0]), text.slice(text.indexOf(","))), canvas, view.line);
	listen(view);
	return view;
}

/* ---- Which moment ---- */

const SNAPSHOTS = DATA.snapshots;
const peakSnapshot = SNAPSHOTS.reduce((best, s, i) => (s.live || 0) >= (SNAPSHOTS[best].live || 0) ? i : best, 0);
let moment = peakSnapshot, views = [];

/* The four kinds of held memory as one bar, with their names where there is room. */
function drawShares(s) {
	$("shares").hidden = s.metadata === undefined;
	if ($("shares").hidden)
		return;
	const width = Math.max(280, $("shares").clientWidth || 600), bar = svg("svg", {viewBox: "0 0 " + width + " 40", role: "img", "aria-label": shareWords(s)});
	let x = 0;
	for (const kind of ["live", "cached", "free", "metadata"]) {
		const w = width * s[kind] / Math.max(1, s.held), text = fitting([kind + " " + bytes(s[kind]), kind], w - 10, FONT);
		bar.append(svg("rect", {x, y: 1, width: Math.max(w, 0.5), height: 38, style: "fill:var(--" + kind + ");stroke:var(--edge)"}, svg("title", {}, kind + ": " + exact(s[kind]))));
		if (text)
			bar.append(svg("text", {x: x + 6, y: 24, style: kind === "metadata" ? "fill:var(--inverse)" : ""}, text));
		x += w;
	}
	$("shares").replaceChildren(bar);
}

const shareWords = (s) => bytes(s.held) + " held from the kernel: " + bytes(s.live) + " live, " + bytes(s.cached) + " cached, " + bytes(s.free) + " free, " + bytes(s.metadata) + " metadata";

function momentWords(s) {
	const parts = [SNAPSHOTS.length > 1 ? "After " + duration(s.time) + " of " + duration(DATA.endTime) + (REASONS[s.reason] ? ", " + REASONS[s.reason] : "") : "The snapshot"];
	if (moment === peakSnapshot && SNAPSHOTS.length > 1)
		parts.push("the most live bytes of " + (DATA.snapshotCount > SNAPSHOTS.length ? count(SNAPSHOTS.length) + " of the " + count(DATA.snapshotCount) : "the " + count(SNAPSHOTS.length)) + " snapshots");
	return parts.join(", ") + ": " + (s.metadata !== undefined ? shareWords(s) : s.held ? bytes(s.live) + " live, " + bytes(s.held) + " held from the kernel" : "no figures") + ".";
}

/* The width of each of so many areas: the grid's columns are at least 20 rem wide. */
function areaWidth(n) {
	const room = $("areas").clientWidth || 384, gap = 20, columns = Math.max(1, Math.min(n, Math.floor((room + gap) / (320 + gap))));
	return (room - gap * (columns - 1)) / columns;
}

function drawMoment(i) {
	moment = Math.max(0, Math.min(SNAPSHOTS.length - 1, i));
	const s = SNAPSHOTS[moment], areas = areasOf(s.records), isMapping = (area) => area.isMapping;
	const some = areas.filter((a) => !isMapping(a)).slice(0, AREAS_MAX).concat(areas.filter(isMapping).slice(0, AREAS_MAX));
	$("moment").value = moment;
	$("map-words").textContent = momentWords(s) + (some.length < areas.length ? " Drawn are " + some.length + " of " + count(areas.length) + " areas." : "") +
		(s.records.length < s.of ? " The page has " + count(s.records.length) + " of the " + count(s.of) + " records of this snapshot." : "");
	$("moment").setAttribute("aria-valuetext", $("map-words").textContent);
	drawShares(s);
	$("areas").replaceChildren();
	views = some.map((area) => areaView(area, areaWidth(some.length)));
	$("areas").append(...views.map((view) => view.element));
	views.forEach(paint);
	drawMapKey();
}

/* The kinds that the map shows. */
function drawMapKey() {
	const has = (kind) => kind === "unused" || views.some((view) => view.squares.some((s) => s.kinds[kind] > 0));
	$("map-key").replaceChildren(...Object.keys(KINDS).filter((kind) => kind !== "dirty" && has(kind)).map((kind) => keyItem("var(--" + KINDS[kind][0] + ")", KINDS[kind][1])));
}

function startMap() {
	$("map").hidden = !SNAPSHOTS.some((s) => s.records.length);
	if ($("map").hidden)
		return;
	$("moments").hidden = SNAPSHOTS.length < 2;
	$("moment").max = SNAPSHOTS.length - 1;
	$("moment").addEventListener("input", () => drawMoment(Number($("moment").value)));
	const actions = {"moment-back": () => drawMoment(moment - 1), "moment-peak": () => drawMoment(peakSnapshot), "moment-forward": () => drawMoment(moment + 1)};
	for (const id in actions)
		$(id).addEventListener("click", actions[id]);
	drawMoment(peakSnapshot);
}
