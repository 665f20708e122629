/* ---- The list of calls, and the threads ---- */

const CALL_ROW = 28, HUES = [212, 28, 145, 285, 340, 55, 180, 95];
const hiddenThreads = new Set();
let shownCalls = CALLS;

const threadColour = (thread) => "hsl(" + HUES[thread % HUES.length] + " 65% 50%)";
const threadDot = (thread) => html("span", {class: "dot", style: "background:" + threadColour(thread), title: "thread " + DATA.threads[thread]});
const isThreadShown = (thread) => !hiddenThreads.has(thread);

/* The call of that number, if the page has it. */
const callNumbered = (number) => CALLS[number - CALLS[0].number];

function callSuffix(number) {
	const call = CALLS.length ? callNumbered(number) : null;
	return call ? ": " + callText(call) + (DATA.threads.length > 1 ? ", by thread " + DATA.threads[call.thread] : "") : "";
}

/* The thread that allocated a block, or -1. */
function ownerOf(block) {
	const call = block[3] && CALLS.length ? callNumbered(block[3]) : null;
	return call ? call.thread : -1;
}

/* The index in shownCalls of the first call from the n-th on. */
function shownFrom(n) {
	let low = 0, high = shownCalls.length;
	while (low < high) {
		const mid = (low + high) >> 1;
		if (shownCalls[mid].number < n)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

function callRow(k, current) {
	const call = shownCalls[k], isCurrent = call === current;
	const row = html("div", {class: "row", role: "option", id: "call-" + k, "aria-selected": String(isCurrent), style: "top:" + k * CALL_ROW + "px"},
		html("span", {class: "n"}, count(call.number)), html("span", {class: "what"}, callText(call)), html("span", {class: "gives"}, resultText(call)));
	if (DATA.threads.length > 1)
		row.insertBefore(threadDot(call.thread), row.children[1]);
	row.addEventListener("click", () => show(call.first + 1));
	return row;
}

/* Only the rows in view are elements; the last one gives the list its height. */
function drawCalls() {
	const box = $("calls"), current = now ? CALLS[callOf[now - 1]] : null, rows = [];
	const from = Math.max(0, Math.floor(box.scrollTop / CALL_ROW) - 5);
	const end = Math.min(shownCalls.length, Math.ceil((box.scrollTop + box.clientHeight) / CALL_ROW) + 5);
	for (let k = from; k < end; k++)
		rows.push(callRow(k, current));
	box.replaceChildren(html("div", {role: "presentation", style: "height:" + shownCalls.length * CALL_ROW + "px"}), ...rows);
	const at = current ? shownFrom(current.number) : -1;
	if (at >= from && at < end && shownCalls[at] === current)
		box.setAttribute("aria-activedescendant", "call-" + at);
	else
		box.removeAttribute("aria-activedescendant");
}

function followCall() {
	const box = $("calls"), at = now ? shownFrom(CALLS[callOf[now - 1]].number) : 0, top = at * CALL_ROW;
	if (top < box.scrollTop || top + CALL_ROW > box.scrollTop + box.clientHeight)
		box.scrollTop = Math.max(0, top - (box.clientHeight - CALL_ROW) / 2);
	drawCalls();
}

/* Move by calls of the threads that are shown, to their first steps. */
function moveCalls(by) {
	if (!shownCalls.length)
		return;
	const current = now ? CALLS[callOf[now - 1]] : null, at = current ? shownFrom(current.number) : -1;
	const isThere = current && shownCalls[at] === current;
	const next = by > 0 ? at + (isThere || !current ? by : 0) : at + (isThere && now > current.first + 1 ? 0 : by);
	show(next < 0 ? 0 : next >= shownCalls.length ? STEP_COUNT : shownCalls[next].first + 1);
}

function filterThread(thread, isShown) {
	if (isShown)
		hiddenThreads.delete(thread);
	else
		hiddenThreads.add(thread);
	shownCalls = hiddenThreads.size ? CALLS.filter((call) => isThreadShown(call.thread)) : CALLS;
	show(now);
}

function startThreads() {
	if (DATA.threads.length < 2)
		return;
	$("threads").hidden = false;
	$("threads").append(...DATA.threads.map((id, thread) => {
		const box = html("input", {type: "checkbox", checked: ""});
		box.addEventListener("change", () => filterThread(thread, box.checked));
		return html("label", {}, box, threadDot(thread), "thread " + id);
	}));
}
