#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, libosmem.a
#
# What libosmem.so gives to and asks of the dynamic linker: exactly the names of exports.txt,
# nothing but libc, and nothing that would keep it from being loaded early, late or by dlopen.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

# What the library may never call: it allocates, or takes locks that an allocating thread may hold.
# backtrace does so the first time only, which is when its option is read.
forbidden='dlsym|dlopen|dladdr|v?f?printf|v?s?n?printf|puts|fputs|perror|strerror|setlocale|backtrace_symbols(_fd)?'
forbidden="$forbidden|pthread_getspecific|pthread_key_delete|pthread_once|getenv|strdup|syslog"
forbidden="$forbidden|__tls_get_addr"

exports_are_as_listed() {
	nm -D --defined-only "$library" | awk '{ print $3 }' | LC_ALL=C sort >"$scratch/exports"
	diff "$tests/system/exports.txt" "$scratch/exports"
}

list_is_sorted() {
	LC_ALL=C sort -c -u "$tests/system/exports.txt"
}

no_name_is_versioned() {
	! nm -D --with-symbol-versions --defined-only "$library" | grep @
}

# Undefined names without a version are the weak ones.
only_weak_names_are_foreign() {
	! nm -D --with-symbol-versions --undefined-only "$library" | grep -v GLIBC_ | grep -v '^ *w '
}

nothing_that_may_allocate_is_called() {
	! nm -D --undefined-only "$library" | awk '{ sub("@.*", "", $2); print $2 }' |
		grep -E -x "$forbidden"
}

# It allocates for keys from the 33rd on: threads.c calls it when the thread's cache is in place, so
# that malloc is ready (libc/when.c); nobody else may.
setspecific_is_called_by_threads_only() {
	(cd "${library%/*}" && make -s objects | xargs nm -A --undefined-only) | grep -E 'pthread_(setspecific|key_create)$' |
		sed 's/:.* / /' | LC_ALL=C sort >"$scratch/callers"
	printf 'cache/threads.o pthread_key_create\ncache/threads.o pthread_setspecific\n' |
		diff - "$scratch/callers"
}

# Handlers of exit allocate; within the last of them, there are none left.
exit_is_called_by_leaks_only() {
	(cd "${library%/*}" && make -s objects | xargs nm -A --undefined-only) | grep -E ' (exit|compat_end)$' |
		sed 's/:.* / /' | LC_ALL=C sort >"$scratch/callers"
	printf 'compat.o exit\ninspect/leaks.o compat_end\n' | diff - "$scratch/callers"
}

only_libc_is_needed() {
	readelf -dW "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >"$scratch/needed"
	! grep -v -x -e 'libc\.so\.[0-9]*' -e 'ld-linux.*' "$scratch/needed" &&
		grep -q libc "$scratch/needed"
}

tls_is_small() {
	size=$(readelf -lW "$library" | awk '$1 == "TLS" { print $6 }')
	echo "$size bytes of TLS"
	[ $((${size:-0})) -gt 0 ] && [ $((${size:-0})) -le 64 ]
}

# General dynamic TLS and TLS descriptors are allocated at first use: by malloc.
tls_is_initial_exec() {
	! readelf -rW "$library" | grep -E 'DTPMOD|DTPOFF|TLSDESC' &&
		readelf -rW "$library" | grep -q TPOFF64
}

no_text_relocations() {
	! readelf -dW "$library" | grep TEXTREL
}

is_bound_at_load_time() {
	readelf -dW "$library" | grep -q BIND_NOW
}

stack_is_not_executable() {
	readelf -lW "$library" | awk '$1 == "GNU_STACK" { print $7 }' | grep -q -x RW
}

# Data that functions are called through must not stay writable.
relocations_are_read_only() {
	readelf -lW "$library" | grep -q GNU_RELRO
}

# ltrace -x 'os_*', as courses call it, stops at local names too.
no_local_name_begins_with_os() {
	! nm "$library" | awk '$2 != "T" && $3 ~ /^os_/' | grep .
}

if ! has nm readelf; then
	skip exports "binutils is not installed"
	finish
fi
for test in list_is_sorted exports_are_as_listed no_name_is_versioned only_weak_names_are_foreign \
	nothing_that_may_allocate_is_called setspecific_is_called_by_threads_only exit_is_called_by_leaks_only only_libc_is_needed tls_is_small tls_is_initial_exec \
	no_text_relocations is_bound_at_load_time stack_is_not_executable relocations_are_read_only \
	no_local_name_begins_with_os; do
	expect "$test" "$test"
done
finish
