#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# perl: hashes, strings and sorting.

case $1 in
prepare)
	command -v perl >/dev/null || { echo "perl not found" && exit 77; }
	;;
run)
	# shellcheck disable=SC2016 # the dollars are Perl's
	exec perl -e '
my $last = shift;
my %words;
push @{$words{$_ % 5000}}, "item $_" x ($_ % 7 + 1) for 1 .. $last;
my $text = join ",", map { join "", sort @{$words{$_}} } sort keys %words;
my %count;
$count{$_}++ for split /,| /, $text;
print length($text), " ", scalar(keys %count), "\n"' $((150000 * ${SCALE:-100} / 100))
	;;
esac
