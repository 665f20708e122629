/* ---- The steps, their calls, and the list of blocks after a step ---- */

const ENTER = 1, CALL = 2, STEP = 3, FREE = 0, USED = 1, MAPPED = 2;
const META = DATA.meta;
const STATUS = ["free", "used", "mapped"];

/* The steps as arrays: op is an index of DATA.ops; NaN is a null pointer. */
function decode() {
	const from = DATA.steps, n = DATA.stepCount, steps = {op: new Uint32Array(n), a: new Float64Array(n), b: new Float64Array(n), c: new Float64Array(n)};
	const arity = DATA.ops.map((op) => op[5]);
	for (let i = 0, at = 0; i < n; i++) {
		const op = steps.op[i] = from[at++], values = arity[op];
		steps.a[i] = values > 0 ? from[at++] ?? NaN : 0;
		steps.b[i] = values > 1 ? from[at++] ?? NaN : 0;
		steps.c[i] = values > 2 ? from[at++] ?? NaN : 0;
	}
	DATA.steps = null;
	return steps;
}

const STEPS = decode(), STEP_COUNT = DATA.stepCount;

function stepAt(i) {
	const [kind, what, rule, failed, first, , thread] = DATA.ops[STEPS.op[i]];
	return {kind, what, rule, failed, first, thread, a: STEPS.a[i], b: STEPS.b[i], c: STEPS.c[i]};
}

/*
 * The calls: {number, first and last step, steps, thread, what, a, b, c, failed}. callOf has the index of the call of
 * each step, and rankOf its place among the steps of the call.
 */
const CALLS = [], callOf = new Uint32Array(STEP_COUNT), rankOf = new Uint32Array(STEP_COUNT);

function readCalls() {
	const current = [], {op, a, b, c} = STEPS;
	let begun = DATA.firstCall;
	for (let i = 0; i < STEP_COUNT; i++) {
		const [kind, what, , failed, first, , thread] = DATA.ops[op[i]];
		if (first || current[thread] === undefined) {
			begun += first;
			current[thread] = CALLS.length;
			CALLS.push({number: begun, first: i, last: i, steps: 0, thread, what: 0, a: 0, b: 0, c: NaN, failed: 0});
		}
		const call = CALLS[current[thread]];
		callOf[i] = current[thread];
		rankOf[i] = ++call.steps;
		call.last = i;
		if (kind === STEP)
			continue;
		call.what = what;
		call.a = a[i];
		call.b = b[i];
		if (kind === CALL) {
			call.c = c[i];
			call.failed = failed;
		}
	}
}

readCalls();

/* ---- The list: blocks [start, size, status, call] in address order ---- */

function readList(flat) {
	const list = [];
	for (let i = 0; i < flat.length; i += 4)
		list.push([flat[i], flat[i + 1], flat[i + 2], flat[i + 3]]);
	return list;
}

/* The index of the first block at or above start. */
function place(list, start) {
	let low = 0, high = list.length;
	while (low < high) {
		const mid = (low + high) >> 1;
		if (list[mid][0] < start)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The index of the block at start, or -1. */
function indexOf(list, start) {
	const i = place(list, start);
	return list[i] && list[i][0] === start ? i : -1;
}

function insert(list, start, size, status, call) {
	const i = place(list, start);
	if (!list[i] || list[i][0] !== start)
		list.splice(i, 0, [start, size, status, call]);
}

function remove(list, start) {
	const i = indexOf(list, start);
	if (i >= 0)
		list.splice(i, 1);
}

/* Change some of the block at start: values that are undefined stay. */
function change(list, start, size, status, call) {
	const i = indexOf(list, start);
	if (i >= 0)
		list[i] = [start, size ?? list[i][1], status ?? list[i][2], call ?? list[i][3]];
}

/* As list_apply in heapview_list.c. */
function apply(list, i) {
	const s = stepAt(i), {a, b, c} = s;
	if (s.kind !== STEP)
		return;
	switch (s.what) {
	case 3: insert(list, a, b, FREE, 0); break;
	case 4: change(list, a, b); insert(list, a + META + b, c, FREE, 0); break;
	case 5: remove(list, b); change(list, a, c); break;
	case 6: change(list, a, c); break;
	case 7: change(list, a, undefined, USED, CALLS[callOf[i]].number); break;
	case 8: change(list, a, undefined, FREE, 0); break;
	case 9: insert(list, a, b, MAPPED, CALLS[callOf[i]].number); break;
	case 10: remove(list, a); break;
	}
}

/* The checkpoint at or before step n. */
function checkpoint(n) {
	let low = 0, high = DATA.lists.length;
	while (high - low > 1) {
		const mid = (low + high) >> 1;
		if (DATA.lists[mid][0] <= n)
			low = mid;
		else
			high = mid;
	}
	return DATA.lists[low];
}

/* The list after n steps: from the last one that was asked for, or from a checkpoint. Callers do not change it. */
let lastList = null, lastStep = -1;

function listAt(n) {
	const [from, flat] = checkpoint(n);
	if (!lastList || lastStep > n || lastStep < from) {
		lastList = readList(flat);
		lastStep = from;
	}
	for (; lastStep < n; lastStep++)
		apply(lastList, lastStep);
	return lastList;
}

/* For tests: the steps between two checkpoints must lead from one to the other. */
function listsAgree() {
	const ends = DATA.lists.slice(1).concat([[STEP_COUNT, DATA.end]]);
	return ends.every(([n, flat], k) => {
		const list = readList(DATA.lists[k][1]);
		for (let i = DATA.lists[k][0]; i < n; i++)
			apply(list, i);
		return String(list) === String(readList(flat));
	});
}

/* ---- Names of addresses and blocks ---- */

const HEAP_MAX = 2 ** 38; /* mappings are farther away from the start of the heap */
const mappings = new Map(); /* the number of each mapping, by the start of its block */

function numberMappings() {
	const number = (start) => mappings.has(start) || mappings.set(start, mappings.size + 1);
	readList(DATA.lists.length ? DATA.lists[0][1] : []).forEach((b) => b[2] === MAPPED && number(b[0]));
	for (let i = 0; i < STEP_COUNT; i++)
		if (DATA.ops[STEPS.op[i]][0] === STEP && DATA.ops[STEPS.op[i]][1] === 9)
			number(STEPS.a[i]);
}

numberMappings();

const hex = (n) => "0x" + n.toString(16);
const raw = (at) => hex(DATA.base + at);

/* heap+0x578, mapping 2, mapping 2+0x20. */
function placeName(at) {
	if (Number.isNaN(at))
		return "NULL";
	if (mappings.has(at))
		return "mapping " + mappings.get(at);
	if (mappings.has(at - META))
		return "mapping " + mappings.get(at - META) + "+" + hex(META);
	return DATA.base && at >= 0 && at < HEAP_MAX ? "heap+" + hex(at) : raw(at);
}
