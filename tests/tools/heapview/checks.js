// SPDX-License-Identifier: BSD-3-Clause

/* What tests ask of a page in a browser. Answers go to attributes of the body. */

const say = (name, value) => { document.body.dataset[name] = value; };
const press = (key, target) => (target || document.body).dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));

/* Without an end, all rows of the drawing are elements. */
function drawAllRows() {
	$("drawing").style.maxHeight = "none";
	show(now);
}

/* The drawn blocks, as attributes in lines. */
function drawnBlocks(prefix) {
	return [...document.querySelectorAll("#drawing [data-start]")].map((g) => "\n" + prefix +
		` data-start="${g.dataset.start}" data-size="${g.dataset.size}" data-status="${g.dataset.status}"`).join("");
}

/* The texts of an svg that touch another one, or reach beyond the svg. */
function badLabels(svg) {
	const box = svg.getBoundingClientRect(), labels = [...svg.querySelectorAll("text")].map((t) => ({text: t.textContent, box: t.getBoundingClientRect()}))
		.filter((l) => l.box.width > 0);
	const touch = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
	return labels.filter((l, i) => l.box.left < box.left - 1 || l.box.right > box.right + 1 ||
		labels.slice(i + 1).some((other) => touch(l.box, other.box))).map((l) => l.text);
}

const allBadLabels = () => [...document.querySelectorAll("main svg")].flatMap(badLabels);

/* The texts of blocks that are wider than their bars. */
function wideLabels() {
	return [...document.querySelectorAll("#drawing g")].flatMap((g) => {
		const bar = g.querySelector(".body").getBoundingClientRect();
		return [...g.querySelectorAll("text")].filter((t) => t.getBoundingClientRect().right > bar.right).map((t) => t.textContent);
	});
}

/* Contrast of two colours, as WCAG defines it. */
function luminance(name) {
	const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
	probe.fillStyle = colour(name);
	probe.fillRect(0, 0, 1, 1);
	const [r, g, b] = [...probe.getImageData(0, 0, 1, 1).data].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
	return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
	const [x, y] = [luminance(a), luminance(b)].sort((m, n) => n - m);
	return (x + 0.05) / (y + 0.05);
}

const inks = ["live-ink", "cached-ink", "free-ink", "metadata-ink", "mapped-ink"];
const PAIRS = [["text", ["back", "panel", "live", "cached", "free", "mapped", "candidate"], 4.5], ["quiet", ["back", "panel"], 4.5],
	["accent", ["back", "panel"], 4.5], ["inverse", ["accent", "metadata"], 4.5], ["mark", ["back", "panel"], 3], ["edge", ["back", "panel"], 3]]
	.concat(inks.map((ink) => [ink, ["back"], 4.5]));

const lowContrasts = () => PAIRS.flatMap(([front, backs, least]) => backs.filter((back) => contrast(front, back) < least).map((back) => front + " on " + back));

/* Whether the marked block can be seen in the drawing. */
function markIsInView() {
	const mark = document.querySelector("#drawing .touched-box"), box = $("drawing").getBoundingClientRect();
	return Boolean(mark) && mark.getBoundingClientRect().top >= box.top - 2 && mark.getBoundingClientRect().bottom <= box.bottom + 2;
}

/* What all tests ask: nothing is wider than the window, and texts are not drawn smaller than they are. */
function sayWidths() {
	say("wide", document.documentElement.scrollWidth > innerWidth);
	say("small", [...document.querySelectorAll("main svg[viewBox]:not(.icon)")].some((svg) => !svg.closest(".key") &&
		svg.getBoundingClientRect().width > 0 && svg.getBoundingClientRect().width / svg.viewBox.baseVal.width < 0.75));
	say("width", innerWidth);
}
