# SPDX-License-Identifier: BSD-3-Clause
#
# A chart (SVG) of what suite.awk has read: a line for each workload of the suite, its time and its
# peak memory in each allocator as ratios to glibc, on a logarithmic scale. What lies beyond the
# scale sits on its edge, hollow.

function x_of(panel, r) {
	return label_width + panel * (panel_width + gap) + panel_width * log(r / smallest) / log(largest / smallest)
}

function text(x, y, style, words) {
	gsub(/&/, "\\&amp;", words)
	printf "<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>\n", x, y, style, words
}

function line(x1, y1, x2, y2, style) {
	printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"%s/>\n", x1, y1, x2, y2, style
}

function dot(x, y, color, radius, is_beyond) {
	printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" stroke=\"%s\" %s/>\n", x, y, radius, color,
		is_beyond ? "class=\"back\"" : "fill=\"" color "\""
}

function dot_of(panel, y, variant, r,   shown) {
	if (r <= 0)
		return
	shown = r < smallest ? smallest : r > largest ? largest : r
	dot(x_of(panel, shown), y, color[variant], variant == "osmem" ? 5 : 3.5, shown != r)
}

# One line of it, or two.
function legend(y,   i, x) {
	x = label_width
	for (i = 1; i <= variant_count; i++) {
		if (variant_list[i] == "glibc")
			continue
		dot(x, y - 4, color[variant_list[i]], variant_list[i] == "osmem" ? 5 : 3.5)
		text(x + 10, y, "", variant_list[i])
		x += 90
		if (x + 160 > width) {
			x = label_width
			y += 16
		}
	}
	text(x, y, "", "hollow: beyond the scale")
}

function axis(panel, title, top, bottom,   r) {
	text(x_of(panel, sqrt(smallest * largest)), top - 24, "font-weight=\"bold\" text-anchor=\"middle\"", title)
	for (r = smallest; r <= largest; r *= 2) {
		line(x_of(panel, r), top - 4, x_of(panel, r), bottom, r == 1 ? " class=\"one\"" : "")
		text(x_of(panel, r), top - 8, "text-anchor=\"middle\"", r == 1 ? "glibc" : r < 1 ? "1/" 1 / r : r)
	}
}

# Those that have no color of their own take these in turn.
function color_others(list,   colors, count, i, next_one) {
	count = split(list, colors, " ")
	for (i = 1; i <= variant_count; i++)
		if (!(variant_list[i] in color))
			color[variant_list[i]] = colors[next_one++ % count + 1]
}

# The dots of osmem are drawn last, on top.
function suite_line(y, name, is_mean,   i, v, pass) {
	text(label_width - 12, y + 4, "text-anchor=\"end\"" (is_mean ? " font-weight=\"bold\"" : ""), name)
	for (pass = 0; pass < 2; pass++) {
		for (i = 1; i <= variant_count; i++) {
			v = variant_list[i]
			if (v == "glibc" || (v == "osmem") != pass)
				continue
			dot_of(0, y, v, is_mean ? geomean(v, "wall_ms") : ratio(name, v, "wall_ms"))
			dot_of(1, y, v, is_mean ? geomean(v, "rss_kib") : ratio(name, v, "rss_kib"))
		}
	}
}

END {
	smallest = 1 / 8
	largest = 8
	label_width = 150
	panel_width = 400
	gap = 30
	row_height = 16
	top = 80
	color["osmem"] = "#d62728"
	color["hardened"] = "#8c564b"
	color["profile"] = "#7f7f7f"
	color["guard"] = "#bcbd22"
	color["jemalloc"] = "#1f77b4"
	color["mimalloc"] = "#2ca02c"
	color["tcmalloc"] = "#ff7f0e"
	color_others("#9467bd #17becf #e377c2 #000080 #808000 #008080")
	width = label_width + 2 * panel_width + gap + 20
	height = top + (workload_count + 2) * row_height
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\"", width, height
	printf " width=\"%d\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n", width
	print "<style>.back{fill:#fff}line{stroke:#ddd}.one{stroke:#444}"
	print "@media (prefers-color-scheme:dark){svg{fill:#eaeaea}.back{fill:#161616}line{stroke:#383838}.one{stroke:#bbb}}</style>"
	print "<rect class=\"back\" width=\"100%\" height=\"100%\"/>"
	legend(24)
	axis(0, "time / glibc", top, height - row_height / 2)
	axis(1, "peak memory / glibc", top, height - row_height / 2)
	suite_line(top + row_height / 2, "geometric mean", 1)
	for (i = 1; i <= workload_count; i++)
		suite_line(top + (i + 1) * row_height, workloads[i])
	print "</svg>"
}
