#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# cases.sh NAME, run by preload.sh in an empty folder, once without the library and once with it:
# does something real with one program. What it prints must not depend on the time, the folder, a
# process id or a race. $data is a file of text, $tests the folder tests/; 77 is the exit status of
# a case that cannot run here.

# shellcheck disable=SC2016 # other languages have dollars too
# shellcheck disable=SC2317 # cases are called by name
# shellcheck disable=SC2012 # ls is what is tested
# shellcheck disable=SC2154 # $data and $tests come through the environment

unset LANG LC_MESSAGES
export LC_ALL=C TZ=UTC

# Every program this shell starts is preloaded, or this is all for nothing.
if [ -n "$LD_PRELOAD" ] && ! grep -q libosmem /proc/self/maps; then
	echo "the library is not loaded"
	exit 1
fi

# is_in PID: has this server loaded the library, if it should have?
is_in() {
	if [ -n "$LD_PRELOAD" ] && ! grep -q libosmem "/proc/$1/maps"; then
		echo "the library is not loaded by process $1"
		exit 1
	fi
}

# until_true COMMAND…: try again for 20 seconds at most.
until_true() {
	for _ in $(seq 200); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	echo "never true: $*"
	return 1
}

# server COMMAND…: in the background, until the case ends; its process id is in $server.
server() {
	"$@" >server.log 2>&1 &
	server=$!
	trap 'kill "$server" 2>/dev/null; wait "$server"' EXIT
}

# ---- Text and files ----

case_ls() {
	ls -lR /usr/include | cksum
	ls -la --sort=size /etc /usr/bin | cksum
	ls /nowhere
	echo $?
}

case_cat() {
	cat -A -n "$data" | cksum
	find /usr/include -name '*.h' -exec cat {} + | cksum
	cat /nowhere
	echo $?
}

case_sort() {
	sort "$data" | cksum
	sort -u -k 2,2n "$data" | cksum
	sort -S 1M -r --parallel=2 -T . "$data" | cksum
}

case_grep() {
	grep -rn -E '(int|void) +[a-z_]+\(' /usr/include | LC_ALL=C sort | cksum
	grep -c -i 'b.*a' "$data"
	grep -P '(\d)\1\1' "$data" | cksum
	grep nowhere "$data"
	echo $?
}

case_sed() {
	sed -E 's/([a-z]+) ([0-9]+)/\2 \1/g; /7$/d; y/abc/xyz/' "$data" | cksum
	sed -n 'H; ${x; s/\n/,/g; p}' "$data" | cksum
}

case_find() {
	find /usr/include /usr/lib -type f -name '*e*' -size +1k 2>/dev/null | sort | cksum
	find /usr/include -name 's*.h' -exec wc -c {} + | sort | cksum
}

case_tar() {
	tar -C /usr -cf include.tar --sort=name include && tar -tvf include.tar | cksum
	tar -xf include.tar && diff -r --no-dereference include /usr/include && echo same
}

case_gzip() {
	gzip -9 -n -c "$data" >data.gz && gzip -1 -n -c "$data" >fast.gz
	cksum <data.gz
	gzip -t data.gz fast.gz && gzip -dc data.gz fast.gz | cksum
	head -c 1000 data.gz | gzip -dc | cksum
}

case_xz() {
	xz -2 -T 2 --block-size=200KiB -c "$data" >data.xz
	cksum <data.xz
	xz -6 -c data.xz | xz -dc | xz -dc | cksum
	head -c 1000 data.xz | xz -dc | cksum
}

# ---- Shells and tools ----

case_bash() {
	bash -c '
		declare -A count
		while read -r word number rest; do
			((count[$word] += number))
			list+=("$rest")
		done < <(head -n 20000 "$data")
		for word in "${!count[@]}"; do echo "$word ${count[$word]}"; done | sort | cksum
		echo "${#list[@]} $(printf "%s\n" "${list[@]}" | cksum)"
		text=; for ((i = 0; i < 3000; i++)); do text+=x$i; done; echo ${#text} ${text//1/22} | cksum
		f() { (($1 > 0)) && f $(($1 - 1)); echo -n $1; }; f 200 | cksum
		for i in {1..50}; do (echo $i) & done | sort -n | cksum; wait
	'
}

case_dash() {
	dash -c '
		i=0
		while [ $i -lt 50000 ]; do i=$((i + 1)); set -- "$i" "$1" "$2" "$3"; done
		echo "$@"
		for i in 1 2 3 4 5 6 7 8 9 10; do echo "$(cat "$data" | head -n $i | cksum)"; done
		f() { [ "$1" -gt 0 ] && f $(($1 - 1)); echo $1; }; f 300 | cksum
		cat <<-EOT
			$(head -n 100 "$data")
		EOT
	' | cksum
}

case_awk() {
	awk '
		{ count[$1] += $2; words[NR] = $3 " " $0 }
		END {
			for (w in count) print w, count[w] | "sort"
			close("sort")
			for (i = NR; i > 0; i--) { s = s substr(words[i], 1, 3); delete words[i] }
			print length(s), toupper(substr(s, 1, 60))
		}' "$data"
	awk 'BEGIN { for (i = 0; i < 200000; i++) a[i % 5000] = a[i % 5000] i; for (i in a) n += length(a[i]); print n }'
}

case_make() {
	{
		echo 'all: $(patsubst %,t%,$(shell seq 300))'
		echo 't%:; @test $* -gt 0 && touch $@'
		echo 'total: all; @ls t* | wc -l'
	} >Makefile
	make -s -j 2 total
	make -n -B -d | grep -c 'Must remake target'
	make nothing
	echo $?
}

# ---- Compilers ----

# printf.c of this project: ordinary C.
compile() {
	"$1" -O2 -g -I "$tests/../utils" "-ffile-prefix-map=$PWD=." -c -o printf.o "$tests/../utils/printf.c" &&
		cksum <printf.o
	echo 'int main(void) { return x; }' >bad.c
	"$1" -c bad.c
	echo $?
	cat >good.c <<-'EOT'
		#include <stdio.h>
		static int f(int n) { return n < 2 ? n : f(n - 1) + f(n - 2); }
		int main(void) { printf("%d\n", f(20)); return 3; }
	EOT
	"$1" -O3 -flto -o good good.c && ./good
	echo $?
}

case_gcc() {
	compile gcc
	gcc -O2 -E -dM -x c /dev/null | cksum
}

case_clang() {
	compile clang
}

case_gxx() {
	cat >stl.cc <<-'EOT'
		#include <iostream>
		#include <map>
		#include <regex>
		#include <string>
		#include <thread>
		#include <vector>
		int main()
		{
			std::map<std::string, int> count;
			std::vector<std::thread> threads;
			std::regex word("[a-z]+ ([0-9]+)");
			std::string line;
			std::smatch match;
			while (std::getline(std::cin, line))
				if (std::regex_search(line, match, word))
					count[match[1]]++;
			for (int i = 0; i < 4; i++)
				threads.emplace_back([&count] { auto copy = count; copy.clear(); });
			for (auto &t : threads)
				t.join();
			std::cout << count.size() << " " << count.begin()->second << std::endl;
			try {
				throw std::runtime_error("thrown");
			} catch (const std::exception &e) {
				std::cout << e.what() << std::endl;
			}
		}
	EOT
	g++ -O1 -pthread -o stl stl.cc && cksum <stl && head -n 3000 "$data" | ./stl
}

case_ld() {
	echo 'int f(int n); int main(void) { return f(4); }' >a.c
	echo 'int f(int n) { return n + 3; }' >b.c
	gcc -c a.c b.c && ar rcD libb.a b.o && ld -r -o ab.o a.o b.o && ld -shared -o libb.so b.o
	cksum ab.o libb.a libb.so
	gcc -o ab a.o libb.a && ./ab
	echo $?
	ld -o missing a.o
	echo $?
}

case_rust() {
	sysroot=$(rustc --print sysroot) || return 77
	PATH=$sysroot/bin:$PATH
	mkdir -p app/src
	printf '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n' >app/Cargo.toml
	cat >app/src/main.rs <<-'EOT'
		use std::collections::BTreeMap;
		fn work(seed: u64) -> usize {
		    let mut map = BTreeMap::new();
		    let mut s = seed;
		    for i in 0..50000u64 {
		        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
		        map.insert(s >> 40, vec![i as u8; (s >> 56) as usize]);
		    }
		    map.values().map(|v| v.len()).sum()
		}
		fn main() {
		    let threads: Vec<_> = (0..4).map(|i| std::thread::spawn(move || work(i))).collect();
		    for t in threads {
		        println!("{}", t.join().unwrap());
		    }
		}
	EOT
	CARGO_HOME=$PWD/home cargo build --offline -q --release --manifest-path app/Cargo.toml &&
		app/target/release/app
	echo $?
}

case_git() {
	export HOME="$PWD" GIT_CONFIG_NOSYSTEM=1
	export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@a
	export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
	git init -q -b main repo && cd repo || return
	for i in 1 2 3 4 5 6 7 8; do
		tail -n +$((i * 1000)) "$data" | head -n 5000 >"file$((i % 3))"
		echo $i >"other$i"
		git add . && git commit -q -m "number $i"
	done
	git log --stat -p | cksum
	git branch side HEAD~3 && git checkout -q side && echo x >new && git add new &&
		git commit -q -m side && git merge -q -m merge main && git log --graph --oneline
	git gc -q --aggressive && git fsck --full && git repack -a -d -q --threads=2
	cd .. && git clone -q repo copy && git -C copy status --short && git -C copy rev-parse HEAD
	git -C copy blame file1 | cksum
	git -C copy show nowhere
	echo $?
}

# ---- Languages ----

# The interpreter's own tests print times; the verdict is what counts.
python_tests() {
	python=$(python3 -c 'import sys; print(sys.executable)')
	"$python" -c 'import test.test_json' 2>/dev/null || return 77
	"$python" -m test -j 2 test_dict test_list test_set test_json test_bytes test_re test_gc \
		test_memoryview >log 2>&1
	echo $?
	grep -x -e 'Result: .*' -e '.*tests OK\.' log | sed 's/in .*//'
	cat >words.py <<-'EOT'
		import json, os, re, threading
		words = {}
		for w in re.findall(r"\w+", open(os.environ["data"]).read()):
		    words.setdefault(w, []).append(len(words))
		print(len(words), len(json.dumps(words)))
		def churn(n):
		    for i in range(200):
		        [bytearray(j * n) for j in range(100)]
		threads = [threading.Thread(target=churn, args=(n,)) for n in range(4)]
		[t.start() for t in threads]
		[t.join() for t in threads]
		try:
		    bytearray(1 << 62)
		except MemoryError:
		    print("MemoryError")
	EOT
	"$python" words.py
}

case_python3() {
	python_tests
}

case_python3_with_malloc() {
	export PYTHONMALLOC=malloc
	python_tests
}

# Memory that runs out under a limit is an exception, and there is some again afterwards.
case_limit() {
	python=$(python3 -c 'import sys; print(sys.executable)')
	cat >limit.py <<-'EOT'
		for size in (100, 5000, 70000, 1 << 20, 1 << 30):
		    kept = []
		    try:
		        while True:
		            kept.append(bytearray(size))
		    except MemoryError:
		        full = len(kept)
		        del kept
		        print(size, "MemoryError", full * size < 1 << 28, len(bytearray(50 << 20)))
	EOT
	prlimit --as=268435456 "$python" limit.py
}

case_perl() {
	perl -e '
		my (%count, @list);
		open my $f, "<", $ENV{data};
		while (<$f>) { $count{$1} .= $2 while /(\w)(\w+)/g; push @list, reverse split; }
		print join(" ", map { length $count{$_} } sort keys %count), " ", scalar(@list), "\n";
		@list = sort { $a cmp $b } @list;
		my $s = join ",", @list[0 .. 999]; $s =~ s/(\d)(?=\d{3})/$1_/g; print length $s, "\n";
		my $pid = fork; if (!$pid) { my @x = map { "x" x $_ } 1 .. 2000; exit(@x == 2000 ? 5 : 1) }
		waitpid $pid, 0; print $? >> 8, "\n";
	'
}

case_node() {
	node -e '
		const { Worker, isMainThread } = require("worker_threads"), zlib = require("zlib");
		const text = require("fs").readFileSync(process.env.data);
		const packed = zlib.deflateSync(text);
		console.log(zlib.inflateSync(packed).equals(text));
		let buffers = [];
		for (let i = 0; i < 20000; i++) { buffers[i % 500] = Buffer.alloc(i % 50000, i & 255); }
		console.log(buffers.reduce((n, b) => n + b.length, 0));
		const map = new Map(text.toString().split("\n").map((l) => [l.slice(0, 6), l]));
		console.log(map.size, JSON.stringify([...map]).length);
		const code = "let a = []; for (let i = 0; i < 1e5; i++) a.push({ i }); postMessage(a.length)";
		for (let i = 0; i < 2; i++)
			new Worker("const { parentPort } = require(\"worker_threads\"); const postMessage = (m) => parentPort.postMessage(m);" + code, { eval: true }).on("message", console.log);
	'
}

case_java() {
	cat >Prog.java <<-'EOT'
		import java.util.*;
		import java.nio.*;
		import java.util.stream.*;
		import java.util.zip.*;
		public class Prog {
			public static void main(String[] args) throws Exception {
				Map<Integer, String> map = new TreeMap<>();
				for (int i = 0; i < 200000; i++)
					map.put(i * 7919 % 100003, "x" + i);
				System.out.println(map.size());
				ByteBuffer[] direct = new ByteBuffer[64];
				for (int i = 0; i < 5000; i++)
					direct[i % 64] = ByteBuffer.allocateDirect(1000 + i);
				System.out.println(Arrays.stream(direct).mapToInt(b -> b.capacity()).sum());
				System.out.println(IntStream.range(0, 1000000).parallel().mapToLong(i -> i).sum());
				CRC32 crc = new CRC32();
				Deflater deflater = new Deflater();
				deflater.setInput(map.toString().getBytes());
				deflater.finish();
				byte[] out = new byte[1 << 20];
				crc.update(out, 0, deflater.deflate(out));
				System.out.println(crc.getValue());
			}
		}
	EOT
	java -Xmx256m -XX:TieredStopAtLevel=1 Prog.java
}

# ---- Data bases and servers ----

case_sqlite3() {
	sqlite3 t.db '
		create table t(id integer primary key, word text, number int);
		with recursive c(n) as (select 1 union all select n + 1 from c where n < 100000)
			insert into t select n, "w" || (n * 7919 % 10007), n * n % 1000 from c;
		create index i on t(word, number);
		select count(*), sum(number) from t;
		select word, count(*) from t group by word order by 2 desc, 1 limit 5;
		select count(*) from t a join t b on a.word = b.word where a.id < b.id;
		update t set word = word || word where number % 7 = 0; delete from t where number % 11 = 0;
		vacuum; pragma integrity_check;
		select sum(length(word)), group_concat(distinct number % 10) from t;
		select nothing;'
	echo $?
}

case_redis() {
	server redis-server --port 0 --unixsocket "$PWD/s" --dir . --save '' --appendonly no
	until_true redis-cli -s s ping || return
	is_in "$server"
	redis-benchmark -s s -n 10000 -c 20 -r 5000 -d 300 -q -t set,get,incr,lpush,lpop,sadd,hset,zadd \
		>log 2>&1
	echo "$? $(grep -c 'requests per second' log)"
	redis-cli -s s eval 'for i = 1, 20000 do redis.call("set", "k" .. i, string.rep("v", i % 500)) end
		return redis.call("strlen", "k333")' 0
	redis-cli -s s set fixed "$(head -c 100000 "$data")" && redis-cli -s s get fixed | cksum
	redis-cli -s s save && redis-cli -s s flushall && redis-cli -s s dbsize
	redis-cli -s s shutdown nosave
	wait "$server"
	echo $?
}

case_nginx() {
	mkdir -p logs html && cp "$data" html/data && head -c 500 "$data" >html/small
	cat >nginx.conf <<-EOT
		$([ "$(id -u)" -ne 0 ] || echo 'user root;')
		daemon off; master_process on; worker_processes 2; pid nginx.pid; error_log logs/error.log;
		events { worker_connections 256; }
		http {
			access_log logs/access.log; client_body_temp_path .; proxy_temp_path .;
			fastcgi_temp_path .; uwsgi_temp_path .; scgi_temp_path .;
			gzip on; gzip_types *; gzip_min_length 1;
			server { listen unix:$PWD/s; root $PWD/html; }
			server {
				listen unix:$PWD/p;
				location / { proxy_pass http://unix:$PWD/s; sub_filter a bb; }
			}
		}
	EOT
	nginx -p "$PWD" -c nginx.conf -t 2>/dev/null || return 77
	server nginx -p "$PWD" -c nginx.conf
	until_true curl -s --unix-socket s http://x/small || return
	is_in "$server"
	for _ in 1 2 3 4 5 6 7 8; do
		curl -s --unix-socket s "http://x/[data,small,nowhere]?[1-100]" -H 'Accept-Encoding: gzip' \
			-o /dev/null &
		clients="$clients $!"
	done
	for i in $(seq 300); do echo "url=http://x/small?$i"; done >urls
	curl -s --unix-socket p -K urls | cksum
	curl -s --compressed --unix-socket p http://x/data | cksum
	# shellcheck disable=SC2086 # process ids are words
	wait $clients
	curl -s -o /dev/null -w '%{http_code}\n' --unix-socket p http://x/nowhere
	kill -HUP "$server" && sleep 0.3 && curl -s --unix-socket s http://x/small | cksum
	kill -QUIT "$server" && wait "$server"
	echo $?
	! grep -E '\[(alert|crit|emerg)\]' logs/error.log
}

# The server refuses to run as root; then this case runs as another user of the machine.
case_postgresql() {
	bin=$(for dir in /usr/lib/postgresql/*/bin; do echo "$dir"; done | tail -n 1)
	[ -x "$bin/initdb" ] || return 77
	if [ "$(id -u)" -eq 0 ]; then
		has_user=$(getent passwd postgres nobody | head -n 1 | cut -d : -f 1)
		chown "$has_user" . && exec setpriv --reuid "$has_user" --clear-groups --no-new-privs \
			env HOME="$PWD" sh "$0" postgresql
	fi
	"$bin/initdb" -D db -A trust -N -U me >log 2>&1 || { tail -n 3 log && return 1; }
	server "$bin/postgres" -D db -c listen_addresses= -c unix_socket_directories="$PWD" -c fsync=off \
		-c shared_buffers=32MB
	export PGHOST="$PWD" PGUSER=me PGDATABASE=postgres
	until_true psql -c 'select 1' || return
	is_in "$server"
	pgbench -i -q -s 1 >/dev/null 2>&1
	pgbench -c 4 -j 2 -t 200 2>/dev/null | grep 'actually processed'
	psql -A -t -c 'select sum(abalance) = (select sum(bbalance) from pgbench_branches),
		count(*) from pgbench_accounts' -c 'select count(*) from pgbench_history' \
		-c "select md5(string_agg(n::text, ',' order by n desc)) from generate_series(1, 100000) n" \
		-c 'select 1 / 0' 2>&1
	kill -INT "$server" && wait "$server"
	echo $?
}

# ---- Documents ----

case_ghostscript() {
	cat >page.ps <<-'EOT'
		%!PS
		/Times-Roman findfont 20 scalefont setfont
		0 20 700 { dup 50 exch moveto (Some text on a page) show } for
		0 10 360 { gsave 300 400 translate rotate 0 0 moveto 200 0 lineto stroke grestore } for
		showpage
	EOT
	gs -q -dBATCH -dNOPAUSE -dSAFER -sDEVICE=ppmraw -r150 -sOutputFile=page.ppm page.ps && cksum <page.ppm
	gs -q -dBATCH -dNOPAUSE -dSAFER -sDEVICE=pdfwrite -dCompressPages=false -sOutputFile=page.pdf page.ps &&
		gs -q -dBATCH -dNOPAUSE -dSAFER -sDEVICE=pgmraw -sOutputFile=page.pgm page.pdf &&
		cksum <page.pgm
	echo 'garbage' | gs -q -dBATCH -dNOPAUSE -dSAFER -sDEVICE=nullpage - >/dev/null
	echo $?
}

case_chromium() {
	browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
	cat >page.html <<-'EOT'
		<p id=a></p><canvas id=c></canvas>
		<script>
			let s = 0; for (let i = 0; i < 1e6; i++) s += [i].length;
			c.getContext("2d").fillRect(0, 0, 9, 9);
			a.textContent = s + new Blob(["x".repeat(1e6)]).size;
		</script>
	EOT
	HOME=$PWD "$browser" --headless --no-sandbox --disable-gpu --no-first-run --disable-dev-shm-usage \
		--user-data-dir="$PWD/profile" --dump-dom "file://$PWD/page.html" 2>/dev/null
	echo $?
}

# ---- Tools that look into a program ----

# A small program with threads and output for them to look at.
subject() {
	cat >subject.c <<-'EOT'
		#include <pthread.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <string.h>
		void *work(void *arg)
		{
			char *p = NULL;
			for (int i = 1; i < 1000; i++) {
				p = realloc(p, i * 10);
				memset(p, i, i * 10);
				free(strdup("text"));
			}
			free(p);
			return arg;
		}
		int main(void)
		{
			pthread_t t;
			pthread_create(&t, NULL, work, NULL);
			work(NULL);
			pthread_join(t, NULL);
			char *p = calloc(100, 1);
			puts("done");
			free(p);
			return 4;
		}
	EOT
	cc -g -O0 -pthread -o subject subject.c
}

case_valgrind() {
	subject
	valgrind -q --error-exitcode=9 ./subject
	echo $?
	valgrind -q --tool=none ./subject
	echo $?
	valgrind -q --soname-synonyms=somalloc=nouserintercepts --tool=callgrind \
		--callgrind-out-file=/dev/null ./subject
	echo $?
}

case_gdb() {
	subject
	gdb -nx -batch -ex 'set confirm off' -ex 'break puts' -ex run -ex 'up' -ex 'print p != 0' \
		-ex 'print ((char *(*)(unsigned long))malloc)(100) != 0' -ex 'call (void)free(p)' \
		-ex 'set var p = 0' -ex continue ./subject 2>&1 | grep -e '^\$' -e '^done' -e 'exited with' |
		sed 's/process [0-9]*/process/'
}

case_strace() {
	subject
	strace -f -o log ./subject
	echo "$? $(grep -c exit_group log)"
}

case_perf() {
	subject
	# Of a child that ends fast, perf itself does not always know the exit status.
	perf stat -o log sh -c './subject; echo $?'
	grep -c 'seconds time elapsed' log
}

case_ltrace() {
	subject
	ltrace -o log -e malloc+free+calloc+puts ./subject
	echo "$? $(grep -c 'puts("done")' log)"
}

"case_$1"
