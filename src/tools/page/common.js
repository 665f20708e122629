/* ---- What all pages share: the data, formats, elements ---- */

addEventListener("error", (event) => { document.body.dataset.error = event.message; });

const $ = (id) => document.getElementById(id);
const DATA = JSON.parse($("data").textContent);
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/* Three digits at most: 512 B, 1.5 KiB, 131 KiB. */
function bytes(n) {
	let unit = 0;
	for (; n >= 1024 && unit < UNITS.length - 1; unit++)
		n /= 1024;
	const text = unit && n < 100 ? n.toFixed(1).replace(/\.0$/, "") : count(n);
	return text + " " + UNITS[unit];
}

const count = (n) => Math.round(n).toLocaleString("en");
const plural = (n, word, many) => count(n) + " " + (Math.round(n) === 1 ? word : many || word + "s");
const exact = (n) => plural(n, "byte");

/* Nanoseconds in the largest unit of which there is one at least. */
function duration(ns) {
	const units = [["ns", 1], ["µs", 1e3], ["ms", 1e6], ["s", 1e9], ["min", 6e10], ["h", 36e11]];
	const [name, size] = units.filter((u) => ns >= u[1]).pop() || units[0];
	const n = ns / size;
	return (n < 10 && size > 1 ? n.toFixed(1).replace(/\.0$/, "") : count(n)) + " " + name;
}

function fill(e, attributes, children) {
	for (const key in attributes)
		e.setAttribute(key, attributes[key]);
	e.append(...children);
	return e;
}

const html = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const SVG = document.querySelector("svg").namespaceURI;
const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

/* The width of text in pixels. */
const ruler = document.createElement("canvas").getContext("2d");
const widths = new Map();

function textWidth(text, font) {
	const key = font + text;
	if (!widths.has(key)) {
		if (widths.size > 20000)
			widths.clear();
		ruler.font = font;
		widths.set(key, ruler.measureText(text).width);
	}
	return widths.get(key);
}

const FONT = "12px system-ui, sans-serif", BOLD = "600 " + FONT;

/* The value of a colour of the palette, for canvases. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

function tableRow(cells, attributes) {
	return html("tr", attributes || {}, ...cells.map((cell) => html("td", {}, cell)));
}

/* An item of a legend: a swatch and what it means. */
function keyItem(fillStyle, text) {
	return html("li", {}, svg("svg", {viewBox: "0 0 20 16", "aria-hidden": "true"},
		svg("rect", {x: 0.5, y: 0.5, width: 19, height: 15, style: "fill:" + fillStyle + ";stroke:var(--edge)"})), text);
}

/* A canvas of width * height CSS pixels, cleared, with its context. */
function prepare(canvas, width, height) {
	const ratio = window.devicePixelRatio || 1, context = canvas.getContext("2d");
	canvas.width = Math.round(width * ratio);
	canvas.height = Math.round(height * ratio);
	context.scale(ratio, ratio);
	return context;
}
