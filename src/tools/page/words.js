/* ---- A call and a step in words. Sentences are lists of texts and elements. ---- */

const NAMES = {1: "os_malloc", 2: "os_calloc", 3: "os_realloc", 4: "os_free", 16: "malloc", 17: "calloc", 18: "realloc",
	19: "reallocarray", 20: "free", 21: "free_sized", 22: "free_aligned_sized", 23: "aligned_alloc", 24: "memalign",
	25: "posix_memalign", 26: "valloc", 27: "pvalloc", 28: "operator new", 29: "operator delete"};
const FREEING = new Set([4, 20, 21, 22, 29]), RESIZING = new Set([3, 18, 19]), ZEROING = new Set([2, 17]);
const THRESHOLD = 131072, CELL = 8;

/* An address as the reader knows it; the tooltip has the number. */
const address = (at) => html("span", Number.isNaN(at) ? {} : {class: "address", title: raw(at)}, placeName(at));
const ruleLink = (n) => html("a", {href: "#rule-" + n, title: $("rule-" + n).querySelector("h3").textContent}, "Rule " + n);

/* The block at start: its number in the list, and where it is. */
function block(list, start, isFirstWord) {
	const i = indexOf(list, start), text = i < 0 ? "the block at " : "block " + count(i + 1) + " at ";
	return html("span", {}, isFirstWord ? text[0].toUpperCase() + text.slice(1) : text, address(start));
}

function argumentsOf(call) {
	if (FREEING.has(call.what))
		return placeName(call.a);
	if (RESIZING.has(call.what))
		return placeName(call.a) + ", " + count(call.b);
	return ZEROING.has(call.what) || (call.a && call.what > 20) ? count(call.a) + ", " + count(call.b) : count(call.b);
}

const callText = (call) => call.what ? (NAMES[call.what] || "a call") + "(" + argumentsOf(call) + ")" : "a call that has not returned";

/* What a call returned, in short; "" for those that free. */
function resultText(call) {
	return FREEING.has(call.what) || !call.what ? "" : "= " + (Number.isNaN(call.c) ? "NULL" : placeName(call.c));
}

/* "call 4 of 23: os_malloc(500), step 2 of 4" */
function callLine(n) {
	const call = CALLS[callOf[n - 1]];
	const line = ["Call " + count(call.number) + " of " + count(DATA.allCalls) + ": " + callText(call) + ", step " +
		count(rankOf[n - 1]) + " of " + count(call.steps)];
	if (DATA.threads.length > 1)
		line.unshift(threadDot(call.thread), " ");
	return line;
}

/* ---- Which threshold decides ---- */

const roundUp = (n, to) => Math.ceil(n / to) * to;
const isOs = (call) => call.what < 16;

/* The threshold of a call: its name, and its bytes. */
const thresholdOf = (call) => ZEROING.has(call.what) ? ["the page size", DATA.page] : ["the mmap threshold", THRESHOLD];

function chunkWords(call, size) {
	const payload = roundUp(size, isOs(call) ? CELL : 2 * CELL), chunk = payload + META, [name, limit] = thresholdOf(call);
	return {isMapped: chunk >= limit, payload, words: ["The chunk has " + count(chunk) + " bytes: a header of " + META + " and a payload of " +
		count(payload) + ". That is " + (chunk >= limit ? "not less" : "less") + " than " + name + ", " + count(limit) + ": "]};
}

function reallocWords(call, list) {
	if (Number.isNaN(call.a))
		return [ruleLink(15), ": a null pointer, so this is a malloc. "].concat(placementWords(call, call.b));
	if (!call.b)
		return [ruleLink(15), ": size 0, so this is a free."];
	const old = list[indexOf(list, call.a - META)], {isMapped, words} = chunkWords(call, call.b);
	if (old && old[2] === FREE)
		return [ruleLink(16), ": ", block(list, old[0]), " is free: the result is NULL."];
	if (old && old[2] === MAPPED)
		return [ruleLink(18), ": ", block(list, old[0]), " is mapped. A mapped block always moves."];
	return words.concat(isMapped ? ["the block moves to a mapping (", ruleLink(18), ")."] :
		["the block stays in the heap, in place if it can (", ruleLink(17), ")."]);
}

function placementWords(call, size) {
	if (!size && isOs(call))
		return [ruleLink(5), ": size 0, so the result is NULL."];
	if (!isOs(call) && call.what > 22 && call.a)
		return ["An aligned block of malloc comes from the heap, whatever its size."];
	if (size > 2 ** 63)
		return ["No object can be as large as that."];
	const {isMapped, words} = chunkWords(call, size || 1); /* malloc(0) counts as 1 byte */
	return words.concat(isMapped ? ["it gets a mapping of its own (", ruleLink(6), ")."] : ["it goes to the heap (", ruleLink(6), ")."]);
}

function freeWords(call, list) {
	if (Number.isNaN(call.a))
		return ["A null pointer: nothing is freed."];
	const i = indexOf(list, call.a - META);
	if (i < 0)
		return ["No block has its payload there."];
	return [block(list, list[i][0], true), list[i][2] === MAPPED ? " is mapped: its mapping is removed (" : " is in the heap: it becomes free (",
		ruleLink(list[i][2] === MAPPED ? 7 : 14), ")."];
}

/* What decides where the call goes. */
function decisionWords(call, list) {
	if (FREEING.has(call.what))
		return freeWords(call, list);
	if (RESIZING.has(call.what))
		return reallocWords(call, list);
	return placementWords(call, ZEROING.has(call.what) ? call.a * call.b : call.b);
}

/* ---- Steps ---- */

/* The free blocks that are large enough, and how many are free. */
function candidates(list, want) {
	const free = list.filter((b) => b[2] === FREE);
	return {free: free.length, fit: free.filter((b) => b[1] >= want)};
}

function searchWords(want, best, size, list) {
	const {free, fit} = candidates(list, want), equals = fit.filter((b) => b[1] === size).length;
	if (Number.isNaN(best))
		return [exact(want) + " are needed. " + (free === 0 ? "There is no free block." : free === 1 ? "The only free block is too small." :
			"None of the " + count(free) + " free blocks is large enough.")];
	const of = free === 1 ? "The only free block is large enough: " : (fit.length === free ? "All " + count(free) + " free blocks are" :
		"Of " + count(free) + " free blocks " + plural(fit.length, "is", "are")) + " large enough. " + (fit.length === 1 ? "It is " : "The smallest of them is ");
	return [exact(want) + " are needed. " + of, block(list, best), ", with " + exact(size), equals > 1 ? "; of " + count(equals) +
		" equals it has the lowest address." : "."];
}

const STEP_WORDS = {
	1: ["Search", (a, b, c, list) => searchWords(a, b, c, list)],
	2: ["Region", (a, b) => ["The heap has memory from ", address(a), " to ", address(b), "."]],
	3: ["Append", (a, b, c, list) => ["All that is new is a free block of " + exact(b) + ", the last of the list: ", block(list, a), "."]],
	4: ["Split", (a, b, c, list) => [block(list, a), " keeps " + exact(b) + ". A header and the other " + exact(c) +
		" become a free block, at ", address(a + META + b), "."]],
	5: ["Coalesce", (a, b, c, list) => [block(list, a), " absorbs the free block behind it, at ", address(b), ". Together they have " +
		exact(c) + ": both payloads and a header."]],
	6: ["Expand", (a, b, c, list) => ["The last block of the heap, ", block(list, a), ", grows from " + count(b) + " to " + exact(c) + "."]],
	7: ["Use", (a, b, c, list) => [block(list, a), ", of " + exact(b) + ", is now used. The program gets the address of its payload, ",
		address(a + META), "."]],
	8: ["Free", (a, b, c, list) => [block(list, a), ", of " + exact(b) + ", is now free. Nothing is merged before the next search."]],
	9: ["Map", (a, b) => ["A block of " + exact(b) + " has its own mapping: ", address(a), "."]],
	10: ["Unmap", (a, b) => ["The block of " + exact(b) + " is gone, with its mapping, ", address(a), "."]],
	11: ["Copy", (a, b, c) => Number.isNaN(a) ? [exact(c) + " are set to zero, from ", address(b), " on."] :
		[exact(c) + " are copied from ", address(a), " to ", address(b), "."]],
	32: ["System call brk", (a, b) => ["The kernel moves the program break from ", address(a), " to ", address(b), ", by " + exact(b - a) + "."]],
	33: ["System call mmap", (a, b) => ["The kernel maps " + exact(b) + ", at ", address(a), "."]],
	34: ["System call munmap", (a, b) => ["The kernel unmaps " + exact(b) + ", at ", address(a), "."]],
	35: ["System call mremap", (a, b, c) => ["The kernel moves a mapping from ", address(a), " to ", address(b), "; it has " + exact(c) + "."]],
	36: ["System call madvise", (a, b) => ["The kernel may take back pages of " + exact(b) + ", at ", address(a), "."]],
};

/* The start or the result of a call. */
function boundaryWords(s, call, list) {
	if (s.kind === ENTER)
		return decisionWords(call, list);
	const name = html("b", {}, NAMES[s.what] || "The call");
	if (FREEING.has(s.what))
		return call.last > call.first && s.first ? decisionWords(call, list) : [name, " returns."];
	return s.failed ? [name, " fails and returns NULL."] :
		Number.isNaN(s.c) ? [name, " returns NULL."] : [name, " returns ", address(s.c), ", the payload of ", block(list, s.c - META), "."];
}

/* What step n does, in the list after it. */
function words(n, list) {
	if (n === 0)
		return [DATA.first ? "Before step " + count(DATA.first + 1) + "." : "The list before the first step. Press Play, or the right arrow key."];
	const s = stepAt(n - 1), call = CALLS[callOf[n - 1]];
	if (s.kind !== STEP)
		return boundaryWords(s, call, list);
	const known = STEP_WORDS[s.what];
	if (!known)
		return ["An unknown step."];
	const parts = [html("b", {}, known[0]), s.rule ? " (" : "", s.rule ? ruleLink(s.rule) : "", s.rule ? "): " : ": ", ...known[1](s.a, s.b, s.c, list)];
	if (s.first && call.what)
		parts.unshift(...decisionWords(call, list), " ");
	return s.failed ? parts.concat(" The kernel refuses.") : parts;
}

/* The rule that step n cites, or 0. */
function ruleOf(n, list) {
	if (n === 0)
		return 0;
	const s = stepAt(n - 1);
	if (s.kind === STEP)
		return s.rule;
	const link = words(n, list).find((part) => part.tagName === "A");
	return link ? Number(link.hash.slice(6)) : 0;
}

/* The header of the block of step n, or NaN. */
function touched(n) {
	if (n === 0)
		return NaN;
	const s = stepAt(n - 1);
	if (s.kind !== STEP)
		return (FREEING.has(s.what) || s.kind === ENTER && RESIZING.has(s.what) ? s.a : s.c) - META;
	return s.what === 1 ? s.b : s.what < 11 && s.what !== 2 ? s.a : s.what === 11 ? s.b - META : NaN;
}
