#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# ghostscript: pages of text, curves and dictionaries made into a PDF file.

case $1 in
prepare)
	command -v gs >/dev/null || { echo "gs not found" && exit 77; }
	cat >work.ps <<-EOT
		%!PS
		/pages $((8 * ${SCALE:-100} / 100)) 1 add def
		/Helvetica findfont 9 scalefont setfont
		1 1 pages {
			/page exch def
			/words 500 dict def
			0 1 499 { dup 20 string cvs dup cvn exch words 3 1 roll put pop } for
			0 1 59 {
				/line exch def
				40 780 line 12 mul sub moveto
				words { pop 8 string cvs show ( ) show } forall
			} for
			0 1 99 {
				dup 5 mul 100 moveto dup 200 exch 300 page 400 500 curveto
				100 div setgray stroke
			} for
			showpage
		} for
	EOT
	;;
run)
	exec gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -o out.pdf work.ps
	;;
esac
