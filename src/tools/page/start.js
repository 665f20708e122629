/* ---- The head of the page, and the start ---- */

const program = DATA.program.split("/").pop() || "A heap";

function summaryWords() {
	if (!DATA.calls)
		return "A map of process " + DATA.pid + ".";
	return "Process " + DATA.pid + ": " + plural(DATA.calls, "call") + " in " + duration(DATA.endTime) + ", " +
		(DATA.failed ? plural(DATA.failed, "call") + " failed" : "none failed") + "; at most " + bytes(DATA.peak) + " requested and not freed; " +
		plural(DATA.liveCount, "object") + " live at the end.";
}

function noteWords() {
	const notes = [];
	if (DATA.note)
		notes.push("The trace is " + DATA.note + ".");
	if (DATA.refused)
		notes.push(plural(DATA.refused, "step matches", "steps match") + " no block: the trace is incomplete.");
	if (DATA.all - DATA.first > STEP_COUNT)
		notes.push("The player has " + count(STEP_COUNT) + " of " + plural(DATA.all, "step") + "; heapview --step N starts it at another one.");
	return notes.join(" ");
}

$("title").textContent = program;
$("title").title = DATA.program;
document.title = "heapview: " + program;
$("summary").textContent = summaryWords();
$("note").textContent = noteWords();
startPlayer();
drawProgram();
drawLeftOver();
drawTop();
startMap();
addEventListener("resize", () => { drawProgram(); if (!$("map").hidden) drawMoment(moment); });
$("rules").hidden = $("player").hidden;
document.body.dataset.check = "ok";
document.body.dataset.ready = Math.round(performance.now()); /* milliseconds to here, for tests */
