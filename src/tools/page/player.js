/* ---- The player ---- */

let now = 0, timer = 0;

const TABLE_MAX = 200;

/* The list as a table, around the block of the step. */
function drawTable(list, mark) {
	const at = indexOf(list, mark), from = Math.max(0, Math.min(at - TABLE_MAX / 2, list.length - TABLE_MAX)), some = list.slice(from, from + TABLE_MAX);
	$("list").replaceChildren(...some.map(([start, size, status, call], k) => tableRow([count(from + k + 1), address(start), count(size), STATUS[status],
		call ? count(call) : ""], from + k === at ? {class: "touched"} : {})));
	if (some.length < list.length)
		$("list").append(html("tr", {}, html("td", {colspan: 5}, "blocks " + count(from + 1) + " to " + count(from + some.length) + " of " + count(list.length))));
	const row = $("list").children[at - from], box = $("table");
	if (row)
		box.scrollTop = row.offsetTop - box.clientHeight / 2;
}

function drawRule(n) {
	$("rule").scrollTop = 0;
	$("rule").replaceChildren(...n ? [...$("rule-" + n).children].map((c) => c.cloneNode(true)) : [html("h3", {}, "Rules"),
		html("p", {}, "Every placement follows one of the ", html("a", {href: "#rules"}, "18 rules"), ". The rule of a step is shown here.")]);
}

const CANDIDATES_MAX = 8;

/* The free blocks that a search could take, the best one first. */
function candidateList(list, want) {
	const fit = candidates(list, want).fit.sort((a, b) => a[1] - b[1] || a[0] - b[0]);
	const items = fit.slice(0, CANDIDATES_MAX).map((b, i) => html("li", {}, html(i ? "span" : "b", {}, exact(b[1]), " in ", block(list, b[0]), i ? "" : ": the best fit")));
	return html("div", {}, html("h3", {}, plural(fit.length, "free block") + " large enough, by size"), html("ol", {}, ...items),
		fit.length > items.length ? "and " + count(fit.length - items.length) + " more" : "");
}

function show(n) {
	now = Math.max(0, Math.min(STEP_COUNT, n));
	const list = listAt(now), mark = touched(now), s = now ? stepAt(now - 1) : {}, want = s.kind === STEP && s.what === 1 ? s.a : null;
	$("slider").value = now;
	$("position").textContent = "step " + count(DATA.first + now) + " of " + count(DATA.all);
	$("call").replaceChildren(...now ? callLine(now) : [plural(DATA.allCalls, "call") + ", " + plural(DATA.all, "step")]);
	$("words").replaceChildren(...words(now, list));
	$("slider").setAttribute("aria-valuetext", $("position").textContent + ": " + $("call").textContent);
	document.body.dataset.step = DATA.first + now;
	drawRule(ruleOf(now, list));
	if (want !== null)
		$("rule").prepend(candidateList(list, want));
	drawTable(list, mark);
	drawList(list, {mark, want});
	followCall();
}

/* ---- Playing ---- */

function advance() {
	if (now >= STEP_COUNT)
		play(false);
	else if ($("speed").value === "calls")
		moveCalls(1);
	else
		show(now + 1);
}

function play(on) {
	const rate = $("speed").value === "calls" ? 2 : Number($("speed").value);
	clearInterval(timer);
	timer = on ? setInterval(advance, 1000 / rate) : 0;
	$("play").textContent = on ? "Pause" : "Play";
	$("play").setAttribute("aria-pressed", String(on));
}

function start() {
	if (now >= STEP_COUNT)
		show(0);
	play(!timer);
}

function setZoom(by) {
	zoom = Math.max(-12, Math.min(8, zoom + by));
	show(now);
}

const KEYS = {
	ArrowLeft: () => show(now - 1), ArrowRight: () => show(now + 1), Home: () => show(0), End: () => show(STEP_COUNT),
	n: () => moveCalls(1), p: () => moveCalls(-1), " ": start, "+": () => setZoom(1), "-": () => setZoom(-1),
};

/* Keys of the player, unless an element with keys of its own has the focus. */
function key(event) {
	const where = event.target, tag = where.tagName || "";
	if (event.altKey || event.ctrlKey || event.metaKey || !KEYS[event.key] || tag === "SELECT" || (where.closest && where.closest("#map, #program")))
		return;
	if (event.key === " " && (tag === "BUTTON" || tag === "A" || tag === "INPUT" && where.type === "checkbox"))
		return;
	KEYS[event.key]();
	event.preventDefault();
}

function follow() {
	const m = /^#step=(\d+)$/.exec(location.hash);
	if (m)
		show(Number(m[1]) - DATA.first);
	return Boolean(m);
}

function startButtons() {
	const actions = {back: KEYS.ArrowLeft, forward: KEYS.ArrowRight, "call-back": KEYS.p, "call-forward": KEYS.n, play: start,
		smaller: KEYS["-"], larger: KEYS["+"]};
	for (const id in actions)
		$(id).addEventListener("click", actions[id]);
	$("slider").max = STEP_COUNT;
	$("slider").addEventListener("input", () => show(Number($("slider").value)));
	$("speed").addEventListener("change", () => timer && play(true));
}

function startPlayer() {
	if (!STEP_COUNT && !DATA.end.length)
		return;
	$("player").hidden = false;
	startButtons();
	startDrawing();
	startThreads();
	$("calls").addEventListener("scroll", () => requestAnimationFrame(drawCalls));
	$("calls").hidden = !CALLS.length;
	document.addEventListener("keydown", key);
	addEventListener("hashchange", follow);
	addEventListener("resize", () => show(now));
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(now));
	if (!follow())
		show(0);
}
