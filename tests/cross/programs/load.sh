# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
#
# load.sh BUSYBOX FILE: words, pipes and children.

busybox=$1 file=$2

"$busybox" tr -cs 'A-Za-z' '\n' <"$file" | "$busybox" sort | "$busybox" uniq -c | "$busybox" sort -n |
	"$busybox" tail -n 20
# shellcheck disable=SC2016 # the dollars are of awk
"$busybox" awk '{ for (i = 1; i <= NF; i++) seen[$i]++ } END { for (w in seen) n += seen[w] * length(w); print n }' "$file"
"$busybox" sed -e 's/\([a-z]*\) \([a-z]*\)/\2 \1/g' "$file" | "$busybox" md5sum
"$busybox" gzip <"$file" | "$busybox" gunzip | "$busybox" md5sum
"$busybox" grep -n -i 'alloc' "$file" | "$busybox" cut -c 1-40 | "$busybox" head -n 30
text=
for i in $("$busybox" seq 2000); do
	text=$text$i,
done
# echo would be a program of this machine.
"$busybox" cat <<EOT
${#text}
EOT
