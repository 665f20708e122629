#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# redis-server under redis-benchmark, which is not preloaded. Some distributions link redis with
# jemalloc; preloading the C library puts its malloc first again.

case $1 in
prepare)
	command -v redis-server >/dev/null || { echo "redis-server not found" && exit 77; }
	command -v redis-benchmark >/dev/null || { echo "redis-benchmark not found" && exit 77; }
	;;
run)
	LD_PRELOAD=${LD_PRELOAD:-libc.so.6} timeout 60 redis-server --port 0 --unixsocket socket --save '' \
		--appendonly no --dir . >redis.log &
	server=$!
	unset LD_PRELOAD
	until redis-cli -s socket ping >redis.log 2>&1; do
		kill -0 $server || exit 1
		sleep 0.02
	done
	redis-benchmark -s socket -n $((20000 * ${SCALE:-100} / 100)) -P 8 -c 20 -r 50000 -d 200 -q \
		-t set,get,incr,lpush,lpop,sadd,hset,zadd,mset || exit 1
	redis-cli -s socket shutdown nosave
	wait $server
	;;
esac
