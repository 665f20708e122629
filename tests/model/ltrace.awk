# SPDX-License-Identifier: BSD-3-Clause
#
# Turns what ltrace -S -n 2 -x 'os_*' prints into lines such as
#
#	os_malloc (['200000']) = Mapped1 + 0x20
#	  mmap (['0', '200032', '3', '34', '-1', '0']) = Mapped1 + 0x0
#
# Addresses are written relative to HeapStart, which is the result of the first brk of all, and to
# Mapped1, Mapped2, … in the order they were mapped. System calls outside os_* calls, and library
# calls inside them, are left out.

function value(hex,    i, n) {
	hex = substr(hex, 3)
	for (i = 1; i <= length(hex); i++)
		n = n * 16 + index("123456789abcdef", substr(hex, i, 1))
	return n
}

function name(word,    n, i) {
	if (word !~ /^0x[0-9a-f]+$/)
		return word
	n = value(word)
	if (n >= heap && n < heap + 268435456)
		return sprintf("HeapStart + 0x%x", n - heap)
	for (i = maps; i > 0; i--)
		if (n >= map[i] && n < map[i] + size[i])
			return sprintf("Mapped%d + 0x%x", i, n - map[i])
	return word
}

# "10, 0x5000" as a list of quoted words
function list(text,    words, count, i, all) {
	count = split(text, words, /, /)
	for (i = 1; i <= count; i++)
		all = all (i > 1 ? ", " : "") "\047" name(words[i]) "\047"
	return "([" all "])"
}

function arguments(line) {
	sub(/^[^(]*\(/, "", line)
	sub(/( <unfinished \.\.\.>|\) *= .*)$/, "", line)
	return line
}

function result(line) {
	sub(/^.*\) *= /, "", line)
	return line
}

function finish(line) {
	if (--depth == 0)
		printf "%s %s = %s\n%s", call, args, name(result(line)), nested
}

{ sub(/^ +/, "") } # what is inside is indented

/^SYS_brk\(.* = / && !heap { heap = value(result($0)) }

/^os_[a-z]+(@[^(]*)?\(/ {
	if (depth++ == 0) {
		call = $0
		sub(/[@(].*/, "", call)
		args = list(arguments($0))
		nested = ""
	}
	if (!/<unfinished/)
		finish($0)
}

/^<\.\.\. os_[a-z]+(@[^ ]*)? resumed>/ { finish($0) }

/^SYS_/ && depth {
	call_name = $0
	sub(/^SYS_/, "", call_name)
	sub(/\(.*/, "", call_name)
	if (call_name == "mmap") {
		map[++maps] = value(result($0))
		split(arguments($0), words, /, /)
		size[maps] = words[2]
	}
	nested = nested sprintf("  %s %s = %s\n", call_name, list(arguments($0)),
		name(result($0)))
}
