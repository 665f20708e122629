/* ---- Formats ---- */

const MINUS = "\u2212";

const isBytes = (m) => m & 1;
const amount = (n, m) => isBytes(m) ? bytes(n) : count(n);
const signed = (n, m) => (n < 0 ? MINUS : "+") + amount(Math.abs(n), m);
const percent = (part, all) => (all ? 100 * part / all : 0).toFixed(1) + " %";
const words = (n, m) => isBytes(m) ? bytes(n) : plural(n, "object");

/* ---- Trees ---- */

/*
 * A tree as arrays by node; parents precede their children. self and total have 8 numbers per node: new and old
 * values of each measure. changed has 4: the sum of the differences below, all as growth.
 */
function Tree(names, parents, folds, self) {
	const n = names.length;
	this.names = names;
	this.parents = parents;
	this.folds = folds;
	this.self = self;
	this.total = Float64Array.from(self);
	this.changed = new Float64Array(4 * n);
	this.children = Array.from({length: n}, () => []);
	for (let i = n - 1; i >= 0; i--) {
		for (let k = 0; k < 4; k++)
			this.changed[4 * i + k] += Math.abs(self[8 * i + k] - self[8 * i + 4 + k]);
		if (!i)
			break;
		for (let k = 0; k < 8; k++)
			this.total[8 * parents[i] + k] += this.total[8 * i + k];
		for (let k = 0; k < 4; k++)
			this.changed[4 * parents[i] + k] += this.changed[4 * i + k];
		this.children[parents[i]].push(i);
	}
}

/* As the file has it: from main down. */
function readTree() {
	const names = [], parents = [], folds = [], self = new Float64Array(8 * DATA.nodes.length), path = [];
	DATA.nodes.forEach(([name, depth, folded, ...values], i) => {
		path[depth] = i;
		names.push(name);
		parents.push(depth ? path[depth - 1] : 0);
		folds.push(folded || 0);
		self.set(values, 8 * i);
	});
	return new Tree(names, parents, folds, self);
}

/* From the functions that allocate up to main. */
function invertedTree(tree) {
	const names = [tree.names[0]], parents = [0], folds = [0], self = [new Float64Array(8)], known = new Map();
	for (let i = 0; i < tree.names.length; i++) {
		const own = tree.self.subarray(8 * i, 8 * i + 8);
		if (!own.some((v) => v))
			continue;
		let at = 0;
		for (let k = i; k; k = tree.parents[k]) {
			const key = at + " " + tree.names[k];
			let next = known.get(key);
			if (next === undefined) {
				known.set(key, next = names.length);
				names.push(tree.names[k]);
				parents.push(at);
				folds.push(0);
				self.push(new Float64Array(8));
			}
			folds[next] = Math.max(folds[next], tree.folds[k]);
			at = next;
		}
		own.forEach((v, k) => { self[at][k] += v; });
	}
	const all = new Float64Array(8 * names.length);
	self.forEach((values, i) => all.set(values, 8 * i));
	return new Tree(names, parents, folds, all);
}

/* ---- What is shown ---- */

const trees = {down: readTree(), up: null};
let tree = trees.down, measure = DATA.measure, byChange = DATA.isDiff, zoom = 0, cursor = 0, query = "";

const size = (i) => byChange ? tree.changed[4 * i + measure] : tree.total[8 * i + measure];
const now = (i) => tree.total[8 * i + measure];
const before = (i) => tree.total[8 * i + 4 + measure];
const nameOf = (i) => DATA.names[tree.names[i]];
const isMatch = (name) => query !== "" && (name[2] || name[0]).concat("\n", name[1]).toLowerCase().includes(query);
const sorted = (i) => tree.children[i].filter((k) => size(k) > 0).sort((a, b) => size(b) - size(a));

function ancestors(i) {
	const list = [];
	for (; i; i = tree.parents[i])
		list.unshift(tree.parents[i]);
	return list;
}

/* Several lines. */
function describe(i) {
	const [brief, module, whole] = nameOf(i), all = now(0), m = measure, own = tree.self[8 * i + m];
	const lines = [(whole || brief) + (module ? "  (" + module + ")" : "")];
	if (DATA.isDiff) {
		lines.push(signed(now(i) - before(i), m) + ": " + words(before(i), m) + " before, " + words(now(i), m) + " now" +
			(before(i) ? " (" + (now(i) < before(i) ? MINUS : "+") + percent(Math.abs(now(i) - before(i)), before(i)) + ")" : ""));
	} else {
		lines.push(words(now(i), m) + ", " + percent(now(i), all) + " of all" +
			(zoom && i !== zoom ? ", " + percent(now(i), now(zoom)) + " of what is zoomed" : "") +
			(i && own && own !== now(i) ? "; itself " + words(own, m) : ""));
		const other = m ^ 1, n = tree.total[8 * i + other];
		if (DATA.has[other] && n)
			lines.push(words(n, other) + ", " + bytes(isBytes(m) ? now(i) / n : n / now(i)) + " on average");
	}
	if (tree.folds[i])
		lines.push("Up to " + plural(tree.folds[i], "frame") + (brief[0] === "(" ? " left out here" : " of recursion folded here"));
	return lines.join("\n");
}

/* ---- Colours: one per module, the same shade for the same function ---- */

const HUES = [28, 172, 52, 220, 338, 112, 195, 300];
const hueOf = new Map();

function assignHues() {
	const sums = new Map();
	tree.names.forEach((name, i) => {
		const module = DATA.names[name][1], own = tree.self[8 * i + measure] + tree.self[8 * i + 4 + measure];
		sums.set(module, (sums.get(module) || 0) + own);
	});
	const named = [...sums].filter(([module]) => module).sort((a, b) => b[1] - a[1]);
	hueOf.clear();
	named.slice(0, HUES.length).forEach(([module], k) => hueOf.set(module, HUES[k]));
	drawLegend(named);
}

function shade(name) {
	let h = 0;
	for (const c of name)
		h = (h * 31 + c.codePointAt(0)) % 1009;
	return h % 11;
}

/* The class and the style of a frame. Differences are red or blue, the stronger the larger. */
function look(i) {
	const [brief, module] = nameOf(i);
	if (!DATA.isDiff) {
		const hue = hueOf.get(module);
		return hue === undefined ? ["f grey", ""] : ["f", "--hue:" + hue + ";--more:" + shade(brief)];
	}
	const change = now(i) - before(i), most = Math.max(1, tree.changed[measure]);
	if (!change)
		return ["f grey", ""];
	return ["f", "--hue:" + (change > 0 ? 0 : 215) + ";--more:" + (14 * Math.sqrt(Math.min(1, Math.abs(change) / most))).toFixed(1)];
}

function drawLegend(named) {
	const items = DATA.isDiff ? [["grown", "hsl(0 var(--colour) calc(var(--tint) + var(--step) * 10%))"],
		["shrunk", "hsl(215 var(--colour) calc(var(--tint) + var(--step) * 10%))"], ["unchanged", "var(--panel)"]] :
		named.slice(0, HUES.length).map(([module, n]) => [module + (n ? " " + amount(n, measure) : ""),
			"hsl(" + hueOf.get(module) + " var(--colour) calc(var(--tint) + var(--step) * 5%))"])
			.concat(named.length > HUES.length ? [["others", "var(--panel)"]] : []);
	$("legend").replaceChildren(...items.map(([text, fill]) => {
		const li = document.createElement("li"), box = document.createElement("span");
		box.style.cssText = "flex:none;width:1rem;height:1rem;border:1px solid var(--line);background:" + fill;
		li.append(box, text);
		return li;
	}));
}

/* ---- The flame graph ---- */

const ROW = 21, DRAWN_MAX = 5000;
let drawn = new Map(); /* node: element */

/* Frames {i, x, w, depth} that are at least thin pixels wide; x and w are fractions. */
function layOut(thin) {
	const width = Math.max(1, $("flame").clientWidth), frames = [], stack = [], path = ancestors(zoom);
	path.forEach((i, depth) => frames.push({i, x: 0, w: 1, depth, isAbove: true}));
	stack.push({i: zoom, x: 0, w: 1, depth: path.length});
	while (stack.length) {
		const f = stack.pop(), all = size(f.i);
		let x = f.x;
		frames.push(f);
		for (const i of sorted(f.i)) {
			const w = all ? f.w * size(i) / all : 0;
			if (w * width >= thin)
				stack.push({i, x, w, depth: f.depth + 1});
			x += w;
		}
		if (frames.length > DRAWN_MAX)
			return layOut(2 * thin);
	}
	return frames;
}

function label(i) {
	const [brief] = nameOf(i);
	if (i && !DATA.isDiff)
		return brief + (tree.folds[i] && brief[0] !== "(" ? " ↻" : "");
	const value = DATA.isDiff ? signed(now(i) - before(i), measure) : words(now(i), measure);
	return i ? brief + " " + value : brief + ": " + value;
}

function drawFrame(f, width, old) {
	const e = old || document.createElement("div"), [name, style] = look(f.i), pixels = f.w * width;
	e.className = name + (f.isAbove ? " above" : "") + (pixels < 12 ? " thin" : "") + (isMatch(nameOf(f.i)) ? " match" : "") +
		(f.i === cursor ? " cursor" : "");
	e.style.cssText = style + ";left:" + (100 * f.x).toFixed(4) + "%;width:" + (100 * f.w).toFixed(4) + "%;top:" + f.depth * ROW + "px";
	e.id = "n" + f.i;
	e.setAttribute("role", "treeitem");
	e.setAttribute("aria-level", f.depth + 1);
	if (f.i === cursor || pixels >= 12)
		e.setAttribute("aria-label", nameOf(f.i)[0] + ", " + words(now(f.i), measure));
	const text = pixels < 26 ? "" : label(f.i);
	if (e.textContent !== text)
		e.textContent = text;
	return e;
}

function draw() {
	const flame = $("flame"), width = flame.clientWidth, frames = layOut(0.8), next = new Map();
	for (const f of frames)
		next.set(f.i, drawFrame(f, width, drawn.get(f.i)));
	for (const [i, e] of drawn)
		if (!next.has(i))
			e.remove();
	for (const [i, e] of next)
		if (!drawn.has(i))
			flame.append(e);
	drawn = next;
	flame.classList.toggle("searching", query !== "");
	flame.classList.toggle("moves", frames.length < 1500);
	/* Rows with thin frames only wait for a zoom. */
	flame.style.height = ROW * (1 + frames.reduce((most, f) => f.w * width < 4 ? most : Math.max(most, f.depth), 0)) + 3 + "px";
	flame.setAttribute("aria-activedescendant", "n" + cursor);
	document.body.dataset.frames = frames.length;
	document.body.dataset.zoom = nameOf(zoom)[0];
	drawCrumbs();
	drawMatched();
}

function drawCrumbs() {
	const path = ancestors(zoom).concat(zoom), shown = path.length > 9 ? path.slice(0, 2).concat(-1, path.slice(-6)) : path;
	$("crumbs").replaceChildren(...shown.flatMap((i, k) => {
		if (i < 0)
			return ["…"];
		const b = document.createElement("button");
		b.textContent = nameOf(i)[0];
		b.title = nameOf(i)[2] || nameOf(i)[0];
		b.addEventListener("click", () => zoomTo(i));
		if (i === zoom)
			b.setAttribute("aria-current", "true");
		return k ? ["›", b] : [b];
	}));
}

/* The outermost frames that match have the others inside. */
function drawMatched() {
	let sum = 0, frames = 0;
	const stack = [zoom];
	while (query && stack.length) {
		const i = stack.pop();
		if (isMatch(nameOf(i))) {
			sum += size(i);
			frames++;
		} else {
			stack.push(...tree.children[i]);
		}
	}
	$("matched").textContent = query ? frames ? "matched: " + percent(sum, size(zoom)) : "no match" : "";
	document.body.dataset.matched = query ? (100 * sum / (size(zoom) || 1)).toFixed(1) : "";
}

function say() {
	$("detail").textContent = describe(cursor);
	document.body.dataset.cursor = nameOf(cursor)[0];
}

function moveTo(i) {
	const old = drawn.get(cursor), e = drawn.get(i);
	if (old)
		old.classList.remove("cursor");
	cursor = i;
	if (e) {
		e.classList.add("cursor");
		e.setAttribute("aria-label", nameOf(i)[0] + ", " + words(now(i), measure));
		if (e.scrollIntoView)
			e.scrollIntoView({block: "nearest"});
	}
	$("flame").setAttribute("aria-activedescendant", "n" + i);
	say();
}

function zoomTo(i) {
	zoom = cursor = i;
	$("tip").hidden = true;
	draw();
	say();
}

/* ---- Input ---- */

const frameAt = (event) => {
	const e = event.target.closest && event.target.closest(".f");
	return e ? Number(e.id.slice(1)) : -1;
};

function showTip(event) {
	const i = frameAt(event), tip = $("tip");
	tip.hidden = i < 0 || event.pointerType === "touch";
	if (tip.hidden)
		return;
	tip.textContent = describe(i);
	const box = tip.getBoundingClientRect();
	tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
	tip.style.top = (event.clientY + 22 + box.height > innerHeight ? Math.max(4, event.clientY - box.height - 12) : event.clientY + 22) + "px";
}

/* The neighbour in the row, also of another parent. */
function beside(i, step) {
	const e = drawn.get(i), row = e ? [...drawn].filter(([, d]) => d.style.top === e.style.top) : [];
	row.sort((a, b) => parseFloat(a[1].style.left) - parseFloat(b[1].style.left));
	const at = row.findIndex(([k]) => k === i) + step;
	return row[at] ? row[at][0] : i;
}

function key(event) {
	if (event.altKey || event.ctrlKey || event.metaKey)
		return;
	const where = event.target.tagName || "", inFlame = event.target === $("flame") || where === "BODY" || where === "";
	if (event.key === "Escape") {
		if (query)
			search("");
		else if (zoom)
			zoomTo(tree.parents[zoom]);
		if (event.target === $("search"))
			$("flame").focus();
	} else if (event.key === "/" && where !== "INPUT") {
		$("search").focus();
		$("search").select();
	} else if (event.key === "/" && event.target.type === "radio") {
		$("search").focus();
	} else if (inFlame && event.key === "Enter") {
		zoomTo(cursor);
	} else if (inFlame && event.key === "ArrowDown") {
		moveTo(sorted(cursor).find((i) => drawn.has(i)) || cursor);
	} else if (inFlame && event.key === "ArrowUp") {
		moveTo(tree.parents[cursor]);
	} else if (inFlame && event.key === "ArrowLeft") {
		moveTo(beside(cursor, -1));
	} else if (inFlame && event.key === "ArrowRight") {
		moveTo(beside(cursor, 1));
	} else if (inFlame && event.key === "Home" && event.target === $("flame")) {
		moveTo(0);
	} else {
		return;
	}
	event.preventDefault();
}

function search(text) {
	$("search").value = text;
	query = text.trim().toLowerCase();
	draw();
	drawTable();
}

function chosen(name) {
	const e = document.querySelector("input[name=" + name + "]:checked");
	return e ? e.value : "";
}

/* Another measure, order or width. The zoom stays if the tree does. */
function choose() {
	const wanted = chosen("order");
	if (!trees[wanted])
		trees[wanted] = invertedTree(trees.down);
	if (tree !== trees[wanted]) {
		tree = trees[wanted];
		zoom = cursor = 0;
		for (const e of drawn.values())
			e.remove();
		drawn = new Map();
	}
	measure = Number(chosen("what")) + Number(chosen("unit"));
	byChange = DATA.isDiff && chosen("width") === "change";
	if (!size(zoom))
		zoom = cursor = 0;
	assignHues();
	draw();
	say();
	drawTable();
	document.body.dataset.measure = measure;
}

/* ---- The table ---- */

/* Columns {title, value(row), show(value), share}. Rows are as DATA.table has them. */
const at = (row, k) => row[1 + k] || 0;
const change = (row, k) => at(row, k) - at(row, 8 + k);
const PLAIN = [
	{title: "Self", value: (r) => at(r, measure), isShare: true},
	{title: "With calls", value: (r) => at(r, 4 + measure), isShare: true},
];
const CHANGES = [
	{title: "Self", value: (r) => change(r, measure), isSigned: true},
	{title: "With calls", value: (r) => change(r, 4 + measure), isSigned: true},
	{title: "Before", value: (r) => at(r, 12 + measure)},
	{title: "Now", value: (r) => at(r, 4 + measure)},
];
const COLUMNS = [{title: "Function", value: (r) => DATA.names[r[0]][0]}].concat(DATA.isDiff ? CHANGES : PLAIN);
let sortBy = 1, isDown = true;

function compare(a, b) {
	const column = COLUMNS[sortBy], x = column.value(a), y = column.value(b);
	if (typeof x === "string")
		return isDown ? y.localeCompare(x) : x.localeCompare(y);
	const [p, q] = column.isSigned ? [Math.abs(x), Math.abs(y)] : [x, y];
	return (isDown ? q - p : p - q) || Math.abs(COLUMNS[2].value(b)) - Math.abs(COLUMNS[2].value(a));
}

function tableCell(row, column) {
	const td = document.createElement("td"), value = column.value(row);
	if (typeof value === "string") {
		const b = document.createElement("button"), [, module, whole] = DATA.names[row[0]];
		b.textContent = value;
		b.title = whole || value;
		b.addEventListener("click", () => search(value));
		td.append(b, " ", Object.assign(document.createElement("small"), {textContent: module}));
		return td;
	}
	td.textContent = column.isSigned ? (value ? signed(value, measure) : "0") : amount(value, measure);
	if (column.isSigned && value)
		td.className = value > 0 ? "more" : "less";
	if (column.isShare) {
		const share = trees.down.total[measure] ? 100 * value / trees.down.total[measure] : 0;
		td.className = "share";
		td.style.setProperty("--part", share.toFixed(2) + "%");
		td.append(Object.assign(document.createElement("span"), {textContent: "  " + share.toFixed(1).padStart(5, "\u2007") + " %"}));
	}
	return td;
}

function drawTable() {
	const values = (r) => COLUMNS.slice(1).some((c) => c.value(r));
	const rows = DATA.table.filter((r) => values(r) && (!query || isMatch(DATA.names[r[0]]))).sort(compare);
	$("heads").replaceChildren(...COLUMNS.map((column, k) => {
		const th = document.createElement("th"), b = document.createElement("button");
		th.scope = "col";
		b.textContent = column.title + (k === sortBy ? isDown ? " ▾" : " ▴" : "");
		b.addEventListener("click", () => {
			isDown = k === sortBy ? !isDown : k > 0;
			sortBy = k;
			drawTable();
			$("heads").children[k].firstChild.focus();
		});
		if (k === sortBy)
			th.setAttribute("aria-sort", isDown ? "descending" : "ascending");
		th.append(b);
		return th;
	}));
	$("rows").replaceChildren(...rows.slice(0, 300).map((row) => {
		const tr = document.createElement("tr");
		tr.append(...COLUMNS.map((column) => tableCell(row, column)));
		return tr;
	}));
	$("table-words").textContent = rows.length ? "Self is what a function allocates itself; a click on a name finds it in the graph." +
		(rows.length > 300 || DATA.functions > DATA.table.length && !query ?
			" The first " + Math.min(300, rows.length) + " of " + DATA.functions + " functions." : "") : query ? "No function matches." : "";
	document.body.dataset.rows = rows.length;
}

/* ---- Start ---- */

/* With a node, a click shows its stack. */
function tile(title, value, more, node) {
	const div = document.createElement("div"), last = document.createElement("dd"), b = document.createElement("button");
	for (const [name, text] of [["dt", title], ["dd", value]])
		div.append(Object.assign(document.createElement(name), {textContent: text}));
	div.append(last);
	if (node === undefined) {
		last.textContent = more;
		return div;
	}
	b.textContent = more;
	b.addEventListener("click", () => {
		document.querySelector("input[name=order][value=down]").click();
		zoomTo(node);
	});
	last.append(b);
	return div;
}

/* The node with the largest value, if there is one. */
function topNode(value) {
	let best = 0;
	for (let i = 1; i < tree.names.length; i++)
		if (value(i) > value(best))
			best = i;
	return best;
}

/* A function and its callers. */
function stackWords(i) {
	const path = ancestors(i).concat(i).slice(1).reverse().map((k) => nameOf(k)[0]);
	const start = path.lastIndexOf("main"), shown = start > 0 ? path.slice(0, start + 1) : path;
	return shown.slice(0, 4).join(" ← ") + (shown.length > 4 ? " ← …" : "");
}

function drawTiles() {
	const sums = tree.total, tiles = [], m = DATA.measure, own = (i) => tree.self[8 * i + m];
	const change = (i) => own(i) - tree.self[8 * i + 4 + m];
	for (const [k, title] of [[0, "Live"], [2, "Allocated in total"]]) {
		if (!DATA.has[k + 1])
			continue;
		const [n, was, objects, wasObjects] = [sums[k + 1], sums[k + 5], sums[k], sums[k + 4]];
		tiles.push(DATA.isDiff ? tile(title, signed(n - was, 1), bytes(was) + " before, " + bytes(n) + " now; objects: " +
			signed(objects - wasObjects, 0)) : tile(title, bytes(n), plural(objects, "object")));
	}
	const top = topNode(DATA.isDiff ? change : own), least = DATA.isDiff ? topNode((i) => -change(i)) : 0;
	if (top)
		tiles.push(DATA.isDiff ? tile("Has grown most", signed(change(top), m), stackWords(top), top) :
			tile(m < 2 ? "Holds most" : "Allocates most", amount(own(top), m) + ", " + percent(own(top), sums[m]), stackWords(top), top));
	if (least)
		tiles.push(tile("Has shrunk most", signed(change(least), m), stackWords(least), least));
	$("tiles").replaceChildren(...tiles);
}

function drawSummary() {
	const [samples, old] = DATA.samples, [time, oldTime] = DATA.time, parts = [];
	if (time)
		parts.push("Written " + new Date(time).toISOString().slice(0, 19).replace("T", " ") + " UTC");
	if (DATA.isDiff && time && oldTime && time !== oldTime)
		parts.push(duration(1e6 * Math.abs(time - oldTime)) + " apart");
	else if (DATA.duration[0])
		parts.push("after " + duration(1e6 * DATA.duration[0]));
	if (DATA.period)
		parts.push("about one sample per " + bytes(DATA.period));
	parts.push((DATA.isDiff ? plural(old, "stack") + " before, " : "") + plural(samples, "stack") + (DATA.isDiff ? " now" : ""));
	$("summary").textContent = parts.join("; ") + ".";
	$("notes").replaceChildren(...DATA.notes.concat(DATA.noteCount > DATA.notes.length ? ["and " + (DATA.noteCount -
		DATA.notes.length) + " more objects without symbols"] : []).map((text) => Object.assign(document.createElement("li"), {textContent: text})));
	$("notes").hidden = !DATA.notes.length;
}

function start() {
	$("title").textContent = DATA.title;
	document.title = "heapview: " + DATA.title;
	drawSummary();
	drawTiles();
	$("width").hidden = !DATA.isDiff;
	for (const input of document.querySelectorAll("fieldset input")) {
		if (input.name === "what" || input.name === "unit")
			input.checked = Number(input.value) === (DATA.measure & (input.name === "what" ? 2 : 1));
		input.addEventListener("change", choose);
	}
	$("what").hidden = !(DATA.has[0] || DATA.has[1]) || !(DATA.has[2] || DATA.has[3]);
	$("unit").hidden = !(DATA.has[0] || DATA.has[2]) || !(DATA.has[1] || DATA.has[3]);
	$("search").addEventListener("input", () => search($("search").value));
	$("flame").addEventListener("click", (event) => {
		const i = frameAt(event);
		if (i >= 0)
			zoomTo(i);
	});
	$("flame").addEventListener("pointermove", showTip);
	$("flame").addEventListener("pointerleave", () => { $("tip").hidden = true; });
	document.addEventListener("keydown", key);
	addEventListener("resize", draw);
	addEventListener("scroll", () => { $("tip").hidden = true; });
	choose();
	if (!DATA.samples[0] && !DATA.samples[1]) {
		$("graph").hidden = $("functions").hidden = true;
		$("summary").textContent = "No allocation was sampled: the program has allocated little" +
			(DATA.period ? " compared with one sample per " + bytes(DATA.period) : "") + ".";
	}
}

/* The values of the tree are those of its root, in both orders. */
function selfCheck() {
	const other = invertedTree(trees.down);
	return other.total.subarray(0, 8).every((v, k) => Math.abs(v - trees.down.total[k]) <= 1e-9 * v);
}

start();
document.body.dataset.check = selfCheck() ? "ok" : "failed";
