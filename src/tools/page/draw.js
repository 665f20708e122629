/* ---- Drawing the list: rows of blocks, of which only those in view are elements ---- */

const PLACE = "11px system-ui, sans-serif"; /* the font of places */
const ROW = 52, BAR = 42, HEAD_MIN = 5, BODY_MIN = 9, RIGHT = 10;
let zoom = 0, layout = null;

/* Pixels per byte: two in three requests are wide enough for their labels. */
function usualScale() {
	const sizes = [];
	for (let i = 0; i < STEP_COUNT && sizes.length < 10000; i++)
		if (DATA.ops[STEPS.op[i]][0] === STEP && DATA.ops[STEPS.op[i]][1] === 1)
			sizes.push(STEPS.a[i]);
	sizes.sort((a, b) => a - b);
	return 104 / ((sizes[Math.floor(sizes.length / 3)] || 64) + META);
}

const SCALE = usualScale();

/*
 * Where the blocks are drawn: x, width, row, torn of each, by index. A block is one bar. One that is too long for a row
 * is torn, and takes the rest of the row, or a row of its own. Another region or mapping starts a row.
 */
function layOut(list, width) {
	const scale = SCALE * 2 ** zoom, left = width < 500 ? 58 : 74, most = width - left - RIGHT;
	const l = {list, width, left, x: new Float32Array(list.length), w: new Float32Array(list.length), row: new Uint32Array(list.length),
		torn: new Uint8Array(list.length), head: Math.max(HEAD_MIN, META * scale), firsts: []};
	let x = 0, row = -1, end = NaN;
	list.forEach(([start, size, status], i) => {
		let w = l.head + Math.max(BODY_MIN, size * scale);
		const isTorn = w > most, isFar = status === MAPPED || start !== end;
		if (isTorn)
			w = most - x > most * 0.4 && !isFar ? most - x : most;
		if (row < 0 || isFar || x + w > most + 0.5) {
			x = 0;
			row++;
			l.firsts.push(i);
		}
		l.x[i] = left + x;
		l.w[i] = w;
		l.row[i] = row;
		l.torn[i] = isTorn;
		x += w;
		end = start + META + size;
	});
	return l;
}

/* A bar with a torn middle, as the outline of a path. */
function tornPath(x, y, w) {
	const mid = x + w / 2, teeth = [0, 6, -6, 6, -6, 0], step = BAR / (teeth.length - 1);
	const edge = (at) => teeth.map((t, k) => (at + t).toFixed(1) + " " + (y + k * step).toFixed(1));
	return "M" + x + " " + y + "L" + edge(mid - 6).join("L") + "L" + x + " " + (y + BAR) + "z" +
		"M" + (x + w) + " " + y + "L" + edge(mid + 6).join("L") + "L" + (x + w) + " " + (y + BAR) + "z";
}

/* The first of the texts that fits in width, or "". */
const fitting = (texts, width, font) => texts.find((text) => textWidth(text, font) <= width) || "";

/* The texts of a block, where there is room: its size; its number and place. */
function blockTexts(l, i, x, w) {
	const [start, size, status] = l.list[i], torn = l.torn[i] ? w / 2 - 18 : w - 8, number = "#" + (i + 1);
	const lines = [[[STATUS[status] + " " + exact(size), exact(size), bytes(size), count(size)], "size", BOLD, 18],
		[[number + " " + placeName(start), number], "place", PLACE, 33]];
	return lines.map(([texts, name, font, dy]) => [fitting(texts, torn, font), name, dy]).filter((line) => line[0])
		.map(([text, name, dy]) => svg("text", {x: x + 4, y: l.row[i] * ROW + 5 + dy, class: name}, text));
}

function blockTitle(l, i) {
	const [start, size, status, call] = l.list[i];
	return "Block " + count(i + 1) + " of " + count(l.list.length) + ", " + STATUS[status] + ": " + exact(size) + "\nheader at " + placeName(start) + ", " +
		raw(start) + "\npayload at " + raw(start + META) + (call ? "\nallocated by call " + count(call) + callSuffix(call) : "");
}

/* How a block is filled: by status, or as a candidate of a search. */
function fillOf(block, want) {
	const isCandidate = want !== null && block[2] === FREE && block[1] >= want;
	return "url(#p-" + (isCandidate ? "candidate" : STATUS[block[2]]) + ")";
}

/* What the dark part of a block is, where there is room. */
const headText = (l, x, y) => textWidth("header", PLACE) + 8 > l.head ? [] : [svg("text", {x: x + 4, y: y + 25, class: "head-text"}, "header")];

function drawBlock(l, i, look) {
	const block = l.list[i], x = l.x[i], w = l.w[i], y = l.row[i] * ROW + 5, body = x + l.head, rest = w - l.head;
	const style = "fill:" + fillOf(block, look.want), title = svg("title", {}, blockTitle(l, i));
	const g = svg("g", {"data-start": DATA.base + block[0], "data-size": block[1], "data-status": block[2]}, title,
		svg("rect", {class: "head", x, y, width: l.head, height: BAR}), ...headText(l, x, y),
		l.torn[i] ? svg("path", {class: "body", style, d: tornPath(body, y, rest)}) :
			svg("rect", {class: "body", style, x: body, y, width: rest, height: BAR}), ...blockTexts(l, i, body, rest));
	const thread = ownerOf(block);
	if (thread >= 0 && DATA.threads.length > 1)
		g.append(svg("rect", {x: body, y: y + BAR - 4, width: rest, height: 4, style: "fill:" + threadColour(thread)}));
	if (thread >= 0 && !isThreadShown(thread))
		g.classList.add("dim");
	if (block[0] === look.mark)
		g.append(svg("rect", {class: "touched-box", x: x + 0.5, y: y - 1.5, width: w - 1, height: BAR + 3}));
	return g;
}

/* The blocks in the rows that the reader sees, and a few more. */
function drawVisible() {
	const box = $("drawing"), l = layout, rows = l.firsts.length, first = Math.floor(box.scrollTop / ROW);
	const last = Math.ceil((box.scrollTop + box.clientHeight) / ROW), top = Math.max(0, first - 3), bottom = Math.min(rows, last + 3), parts = [];
	for (let row = top; row < bottom; row++) {
		const end = row + 1 < rows ? l.firsts[row + 1] : l.list.length;
		parts.push(svg("text", {x: l.left - 8, y: row * ROW + 30, class: "gutter", "text-anchor": "end"}, gutter(l.list[l.firsts[row]][0], l.left - 10)));
		for (let i = l.firsts[row]; i < end; i++)
			parts.push(drawBlock(l, i, l.look));
	}
	l.svg.replaceChildren(...parts);
	drawMinimap(Math.min(first, Math.max(0, rows - 1)), Math.min(last, rows));
}

/* Where a row starts. */
function gutter(start, width) {
	const name = placeName(start), short = name.replace("heap", "").replace("mapping ", "map ");
	return fitting([name, short], width, PLACE);
}

/* Draw the list; look has the start of the block to mark, and the size that a search wants, or null. */
function drawList(list, look) {
	const box = $("drawing"), old = layout;
	layout = layOut(list, box.clientWidth || 1000);
	layout.look = look;
	layout.svg = old ? old.svg : svg("svg", {role: "img"});
	layout.svg.setAttribute("width", layout.width);
	layout.svg.setAttribute("height", Math.max(1, layout.firsts.length) * ROW);
	layout.svg.setAttribute("aria-label", plural(list.length, "block") + ". The table has them in words.");
	if (!old)
		box.append(layout.svg);
	bringIntoView(indexOf(list, look.mark));
	drawVisible();
}

/* Bring block i into view. */
function bringIntoView(i) {
	if (i < 0)
		return;
	const box = $("drawing"), top = layout.row[i] * ROW;
	if (top < box.scrollTop || top + ROW > box.scrollTop + box.clientHeight)
		box.scrollTop = Math.max(0, top - (box.clientHeight - ROW) / 2);
}

/* ---- The minimap: the whole list in one strip, to scale ---- */

const MINIMAP = 28;

/* Where runs of blocks without gaps are in the strip: [first, end, x, width]. The heap takes most of it. */
function strips(list, width) {
	const runs = [];
	list.forEach(([start, size, status], i) => {
		const last = runs[runs.length - 1];
		if (last && last.end === start && status !== MAPPED && !last.isMapped)
			last.end = start + META + size;
		else
			runs.push({first: i, start, end: start + META + size, isMapped: status === MAPPED});
	});
	const total = (some) => runs.filter(some).reduce((n, r) => n + r.end - r.start, 0);
	const mapped = total((r) => r.isMapped), heap = total((r) => !r.isMapped), share = mapped ? heap ? 0.2 : 1 : 0;
	const gap = runs.length > width / 6 ? 0 : 3, room = width - gap * Math.max(0, runs.length - 1);
	let x = 0;
	for (const r of runs) {
		r.x = x;
		r.width = room * (r.isMapped ? share * (r.end - r.start) / mapped : (1 - share) * (r.end - r.start) / heap);
		x += r.width + gap;
	}
	return runs;
}

/* Add bytes to the columns of the strip that they cover. */
function addBytes(columns, from, to, kind) {
	for (let x = Math.floor(from); x < to && x < columns.length; x++)
		columns[x][kind] += Math.min(to, x + 1) - Math.max(from, x);
}

const MINIMAP_KINDS = ["free", "live", "mapped", "metadata"];

function minimapColumns(list, runs, width) {
	const columns = Array.from({length: Math.ceil(width)}, () => [0, 0, 0, 0]);
	let k = 0;
	list.forEach(([start, size, status], i) => {
		while (runs[k + 1] && runs[k + 1].first <= i)
			k++;
		const r = runs[k], scale = r.width / (r.end - r.start), x = r.x + (start - r.start) * scale;
		addBytes(columns, x, x + META * scale, 3);
		addBytes(columns, x + META * scale, x + (META + size) * scale, status);
	});
	return columns;
}

/* The place of block i in the strip. */
function minimapX(list, runs, i) {
	const r = runs.filter((run) => run.first <= i).pop();
	return r.x + (list[i][0] - r.start) * r.width / (r.end - r.start);
}

function drawMinimap(firstRow, endRow) {
	const canvas = $("minimap"), width = canvas.clientWidth || 1000, list = layout.list, context = prepare(canvas, width, MINIMAP);
	const runs = layout.runs = layout.runs || strips(list, width);
	const columns = layout.columns = layout.columns || minimapColumns(list, runs, width), colours = MINIMAP_KINDS.map(colour);
	columns.forEach((parts, x) => {
		let y = MINIMAP;
		parts.forEach((part, k) => {
			context.fillStyle = colours[k];
			context.fillRect(x, y - part * MINIMAP, 1, part * MINIMAP);
			y -= part * MINIMAP;
		});
	});
	const mark = indexOf(list, layout.look.mark), rows = layout.firsts;
	if (rows.length > endRow - firstRow) {
		const from = minimapX(list, runs, rows[firstRow]), last = endRow < rows.length ? minimapX(list, runs, rows[endRow]) : width;
		context.strokeStyle = colour("text");
		context.lineWidth = 2;
		context.strokeRect(from + 1, 1, Math.max(4, last - from - 2), MINIMAP - 2);
	}
	if (mark >= 0) {
		context.fillStyle = colour("mark");
		context.fillRect(minimapX(list, runs, mark) - 1, 0, 4, MINIMAP);
	}
	canvas.setAttribute("aria-label", "The whole heap: " + plural(list.length, "block"));
}

/* Show what is at x of the strip. */
function goToMinimap(event) {
	const x = event.clientX - $("minimap").getBoundingClientRect().left;
	let i = 0;
	while (i + 1 < layout.list.length && minimapX(layout.list, layout.runs, i + 1) <= x)
		i++;
	if (layout.list.length)
		$("drawing").scrollTop = Math.max(0, layout.row[i] * ROW - ($("drawing").clientHeight - ROW) / 2);
	drawVisible();
}

function startDrawing() {
	$("drawing").addEventListener("scroll", () => requestAnimationFrame(drawVisible));
	$("minimap").addEventListener("pointerdown", goToMinimap);
	$("minimap").addEventListener("pointermove", (event) => event.buttons & 1 && goToMinimap(event));
	const pairs = [["url(#p-used)", "used"], ["url(#p-free)", "free"], ["url(#p-mapped)", "mapped"], ["var(--metadata)", "header"],
		["url(#p-candidate)", "large enough, in a search"]];
	$("legend").replaceChildren(...pairs.map(([style, text]) => keyItem(style, text)),
		html("li", {}, svg("svg", {viewBox: "0 0 20 16", "aria-hidden": "true"}, svg("rect", {class: "touched-box", x: 2, y: 2, width: 16, height: 12})), "the block of this step"));
}
