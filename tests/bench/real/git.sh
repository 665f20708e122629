#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# git log with patches, and gc, on a small repository.

case $1 in
prepare)
	command -v git >/dev/null || { echo "git not found" && exit 77; }
	export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
	git init -q . || exit 1
	git config gc.auto 0
	awk -v commits=$((300 * ${SCALE:-100} / 100)) 'BEGIN {
		for (n = 1; n <= commits; n++) {
			printf "commit refs/heads/bench\ncommitter B <b@example.org> %d +0000\n", 1e9 + n
			printf "data 7\nchange\n\n"
			for (f = 0; f < 4; f++) {
				text = ""
				for (k = 0; k < 300; k++)
					text = text (k * 7 + (k % 97 == n % 97 ? n : 0)) " line " (k + f) "\n"
				printf "M 100644 inline file%d\ndata %d\n%s\n", (n + f) % 20, length(text), text
			}
		}
	}' | git fast-import --quiet --force
	;;
run)
	export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
	git --no-pager log -p --stat bench && git repack -q -a -d -f
	;;
esac
