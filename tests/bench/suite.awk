# SPDX-License-Identifier: BSD-3-Clause
#
# Read the rows that csv.awk, before it, has the fields of; functions on the suite (load and real)
# for report.awk and chart.awk, which follow.

{
	bench = field("bench")
	workload = field("workload")
	variant = field("variant")
	if (!(variant in known_variant)) {
		known_variant[variant] = 1
		variant_list[++variant_count] = variant
		peer_count += is_peer(variant)
	}
	if (field("status") != "ok") {
		failures[++failure_count] = bench " " workload " " variant ": " field("status")
		broken += !is_peer(variant) && variant != "glibc"
		next
	}
}

bench == "load" || bench == "real" {
	if (!(workload in known_workload)) {
		known_workload[workload] = bench
		workloads[++workload_count] = workload
	}
	for (name in column) {
		figures[workload, variant, name] = field(name)
	}
	next
}

{
	row_count++
	row_bench[row_count] = bench
	row_workload[row_count] = workload
	row_variant[row_count] = variant
	row_value[row_count] = field("value")
	row_ratio[row_count] = field("value_ratio")
	row_unit[row_count] = field("unit")
	row_target[row_count] = field("target")
	if (variant == "glibc")
		base_value[bench, workload] = field("value")
}

function is_peer(variant) {
	return variant !~ /^(glibc|osmem|hardened|profile|guard)$/
}

# 0 where there is none.
function ratio(workload, variant, metric) {
	return figures[workload, variant, metric "_ratio"] + 0
}

function geomean(variant, metric,   i, r, n, sum) {
	for (i = 1; i <= workload_count; i++) {
		r = ratio(workloads[i], variant, metric)
		if (r > 0) {
			sum += log(r)
			n++
		}
	}
	return n ? exp(sum / n) : 0
}

# The CPU time of a variant over the default's, in the geometric mean of load or of real. 0: none.
function cost(variant, kind,   i, r, below, n, sum) {
	for (i = 1; i <= workload_count; i++) {
		r = ratio(workloads[i], variant, "cpu_ms")
		below = ratio(workloads[i], "osmem", "cpu_ms")
		if (known_workload[workloads[i]] == kind && r > 0 && below > 0) {
			sum += log(r / below)
			n++
		}
	}
	return n ? exp(sum / n) : 0
}

# The name of the peer with the lowest geometric mean.
function best_peer_of_all(metric,   i, v, g, best, name) {
	for (i = 1; i <= variant_count; i++) {
		v = variant_list[i]
		g = is_peer(v) ? geomean(v, metric) : 0
		if (g > 0 && (!best || g < best)) {
			best = g
			name = v
		}
	}
	return name
}
