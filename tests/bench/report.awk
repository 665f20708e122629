# SPDX-License-Identifier: BSD-3-Clause
#
# The Markdown report of what suite.awk has read: the targets, the suite (load and real) as ratios to
# glibc with geometric means, and the other benchmarks row by row. Exit status 1 if osmem failed to
# run something.
#
# The targets of a row say what osmem must reach: xR, its ratio to glibc is at most R; +N, its value
# is at most glibc's and N; <N and <=N, its value is that. The file targets has those of single
# workloads of the suite.

function number(n) {
	return sprintf(n < 10 ? "%.2f" : n < 100 ? "%.1f" : "%.0f", n)
}

# Those that keep what is freed for good are quicker where it is large.
function returns_memory(variant) {
	return variant ~ /^(jemalloc|mimalloc)/
}

# The lowest ratio that a peer has; with is_returning, a peer that returns memory to the kernel.
function best_peer(workload, metric, is_returning,   i, v, r, best) {
	for (i = 1; i <= variant_count; i++) {
		v = variant_list[i]
		r = is_peer(v) && (!is_returning || returns_memory(v)) ? ratio(workload, v, metric) : 0
		if (r > 0 && (!best || r < best))
			best = r
	}
	return best
}

function over_best_peer(workload, metric,   best) {
	best = best_peer(workload, metric)
	return best ? ratio(workload, "osmem", metric) / best : 0
}

function cell(r) {
	return r > 0 ? sprintf(" %.2f |", r) : " |"
}

function suite_row(workload, metric, divisor,   i, line) {
	line = "| " workload " | " number(figures[workload, "glibc", metric] / divisor) " |"
	for (i = 1; i <= variant_count; i++)
		if (variant_list[i] != "glibc")
			line = line cell(ratio(workload, variant_list[i], metric))
	print line cell(over_best_peer(workload, metric))
}

function suite_table(title, metric, unit, divisor,   i, line, rule, peer) {
	line = "| workload | glibc, " unit " |"
	rule = "| --- | ---: |"
	for (i = 1; i <= variant_count; i++) {
		if (variant_list[i] == "glibc")
			continue
		line = line " " variant_list[i] " |"
		rule = rule " ---: |"
	}
	printf "\n## %s\n\nAs ratios to glibc.\n\n", title
	print line " osmem / best peer |\n" rule " ---: |"
	for (i = 1; i <= workload_count; i++)
		suite_row(workloads[i], metric, divisor)
	line = "| **geometric mean** | |"
	for (i = 1; i <= variant_count; i++)
		if (variant_list[i] != "glibc")
			line = line cell(geomean(variant_list[i], metric))
	peer = best_peer_of_all(metric)
	print line cell(peer ? geomean("osmem", metric) / geomean(peer, metric) : 0)
}

function target(figure, wanted, measured, is_met) {
	if (!targets_begun) {
		targets_begun = 1
		print "\n## Targets\n\n| figure | target | measured | |\n| --- | --- | --- | --- |"
	}
	printf "| %s | %s | %s | %s |\n", figure, wanted, measured, is_met ? "met" : "**missed**"
	met += is_met
	missed += !is_met
}

# Those of the suite as a whole, or as far as it has been run.
function suite_targets(   suite, peer, i, r, count, text) {
	suite = workload_count " workloads"
	peer = best_peer_of_all("wall_ms")
	if (peer) {
		r = geomean("osmem", "wall_ms") / geomean(peer, "wall_ms")
		target("time over " suite " beside the best peer (" peer ")", "<= 0.90", number(r), r <= 0.90)
		for (i = 1; i <= workload_count; i++) {
			r = over_best_peer(workloads[i], "wall_ms")
			if (r > 1.15) {
				text = text sprintf(", %s %.2f", workloads[i], r)
				count++
			}
		}
		target("workloads slower than their fastest peer", "none by more than 1.15",
		     count + 0 " of " workload_count text, !count)
		peer = best_peer_of_all("rss_kib")
		r = geomean("osmem", "rss_kib") / geomean(peer, "rss_kib")
		target("peak memory over " suite " beside the best peer (" peer ")", "< 1", number(r), r < 1)
	}
	r = geomean("osmem", "rss_kib")
	target("peak memory over " suite " beside glibc", "<= 0.92", number(r), r <= 0.92)
	r = geomean("hardened", "wall_ms") / geomean("osmem", "wall_ms")
	if (r > 0)
		target("time over " suite ", hardened beside default", "<= 1.60", number(r), r <= 1.6)
	r = cost("profile", "real")
	if (r > 0)
		target("CPU time of real programs, with a profile beside default", "<= 1.03",
		     sprintf("%.3f", r), r <= 1.03)
	r = cost("guard", "real")
	if (r > 0)
		target("CPU time of real programs, with guarded blocks beside default", "<= 1.01",
		     sprintf("%.3f", r), r <= 1.01)
	r = cost("profile", "load")
	if (r > 0)
		target("CPU time of load programs, with a profile beside default", "<= 1.30", number(r),
		     r <= 1.3)
}

# Those of single workloads of the suite.
function workload_targets(   i, r, worst, name, two, many) {
	r = over_best_peer("pass-1-1", "wall_ms")
	if (r > 0)
		target("producer and consumer: throughput beside the best peer", ">= 1", number(1 / r), r <= 1)
	two = figures["replace-t2", "osmem", "wall_ms"]
	many = figures["replace-t16", "osmem", "wall_ms"]
	if (two > 0 && many > 0)
		target("16 threads: throughput beside 2 threads", ">= 0.95", number(two / many),
		     two / many >= 0.95)
	for (i = 1; i <= workload_count; i++) {
		r = known_workload[workloads[i]] == "real" ? ratio(workloads[i], "osmem", "cpu_ms") : 0
		if (r > worst) {
			worst = r
			name = workloads[i]
		}
	}
	if (worst)
		target("real programs: CPU time beside glibc, the worst (" name ")", "<= 1.3",
		     number(worst), worst <= 1.3)
}

# What the figure of a workload is divided by, see targets, as a ratio to glibc; 0 if there is none.
function reference(workload, metric, beside,   r) {
	if (beside == "peer" || beside == "returning")
		return best_peer(workload, metric, beside == "returning")
	if (beside == "best") {
		r = best_peer(workload, metric)
		return r && r < 1 ? r : 1
	}
	return ratio(workload, beside == "hardened" ? "osmem" : beside, metric)
}

function listed_target(workload, figure, beside, most, unit,   metric, above, below) {
	metric = metric_of[figure]
	if (!((workload, "osmem", metric) in figures))
		return
	if (beside == "-") {
		above = figures[workload, "osmem", metric]
		target(workload ": " unit, "<= " most, number(above), above <= most + 0)
		return
	}
	above = ratio(workload, beside == "hardened" ? beside : "osmem", metric)
	below = reference(workload, metric, beside)
	if (above > 0 && below > 0)
		target(workload ": " name_of[figure] name_beside(beside), "<= " most,
		     number(above / below), above / below <= most + 0)
}

function name_beside(beside) {
	if (beside == "hardened")
		return ", hardened beside default"
	if (beside == "peer")
		return " beside the best peer"
	if (beside == "returning")
		return " beside the best peer that returns memory"
	return " beside " (beside == "best" ? "the best" : beside)
}

function listed_targets(   line, part, unit) {
	metric_of["wall"] = "wall_ms"
	metric_of["cpu"] = "cpu_ms"
	metric_of["memory"] = "rss_kib"
	metric_of["value"] = "value"
	name_of["wall"] = "time"
	name_of["cpu"] = "CPU time"
	name_of["memory"] = "peak memory"
	while ((getline line < "targets") > 0) {
		if (line !~ /^[a-z]/)
			continue
		split(line, part, " ")
		unit = line
		sub(/^[^ ]+ [^ ]+ [^ ]+ [^ ]+ ?/, "", unit)
		listed_target(part[1], part[2], part[3], part[4], unit)
	}
}

function row_targets(   i, text, value, base, figure) {
	for (i = 1; i <= row_count; i++) {
		text = row_target[i]
		if (row_variant[i] != "osmem" || text == "")
			continue
		value = row_value[i]
		base = base_value[row_bench[i], row_workload[i]]
		figure = row_bench[i] ": " row_workload[i] ", " row_unit[i]
		if (text ~ /^x/)
			target(figure " beside glibc", "<= " substr(text, 2), number(row_ratio[i]),
			     row_ratio[i] <= substr(text, 2) + 0)
		else if (text ~ /^\+/)
			target(figure " more than glibc", "<= " substr(text, 2), value - base,
			     value - base <= substr(text, 2) + 0)
		else if (text ~ /^<=/)
			target(figure, text, number(value), value <= substr(text, 3) + 0)
		else
			target(figure, text, number(value), value < substr(text, 2) + 0)
	}
}

# A row for each trace, a column for each allocator.
function fragmentation_table(   i, v, line, rule, last) {
	for (i = 1; i <= row_count; i++) {
		if (row_bench[i] != "fragmentation")
			continue
		value[row_workload[i], row_variant[i]] = row_value[i] / 100
		if (row_workload[i] != last)
			trace[++trace_count] = last = row_workload[i]
	}
	if (!trace_count)
		return
	print "\n## fragmentation\n\nMemory in use over live bytes.\n"
	for (v = 1; v <= variant_count; v++) {
		line = line " " variant_list[v] " |"
		rule = rule " ---: |"
	}
	print "| trace |" line "\n| --- |" rule
	for (i = 1; i <= trace_count; i++) {
		line = "| " trace[i] " |"
		for (v = 1; v <= variant_count; v++)
			line = line cell(value[trace[i], variant_list[v]])
		print line
	}
}

function other_tables(   i, section) {
	for (i = 1; i <= row_count; i++) {
		if (row_bench[i] == "fragmentation")
			continue
		if (row_bench[i] != section) {
			section = row_bench[i]
			printf "\n## %s\n\n", section
			print "| workload | allocator | measured | ratio to glibc |"
			print "| --- | --- | ---: | ---: |"
		}
		printf "| %s | %s | %s %s |%s\n", row_workload[i], row_variant[i], number(row_value[i]),
			row_unit[i], cell(row_ratio[i])
	}
}

END {
	if (workload_count > 1)
		suite_targets()
	workload_targets()
	listed_targets()
	row_targets()
	if (met + missed)
		printf "\n%d targets met, %d missed\n", met, missed
	if (workload_count) {
		suite_table("Time", "wall_ms", "ms", 1)
		suite_table("CPU time", "cpu_ms", "ms", 1)
		suite_table("Peak memory", "rss_kib", "MiB", 1024)
		suite_table("Minor faults", "faults", "thousands", 1000)
	}
	other_tables()
	fragmentation_table()
	if (failure_count)
		print "\n## Failures\n"
	for (i = 1; i <= failure_count; i++)
		print "- " failures[i]
	exit broken > 0
}
