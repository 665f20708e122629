# SPDX-License-Identifier: BSD-3-Clause
"""Calls os_* through ctypes, as a course demonstration does, with other libraries loaded first."""

import ctypes
import importlib
import sys

for name in ("ssl", "sqlite3", "decimal", "lzma", "bz2", "zlib", "json", "asyncio", "multiprocessing"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass

osmem = ctypes.CDLL(sys.argv[1])
osmem.os_malloc.restype = ctypes.c_void_p
osmem.os_malloc.argtypes = [ctypes.c_size_t]
osmem.os_calloc.restype = ctypes.c_void_p
osmem.os_calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
osmem.os_realloc.restype = ctypes.c_void_p
osmem.os_realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
osmem.os_free.restype = None
osmem.os_free.argtypes = [ctypes.c_void_p]

for size in (1, 8, 100, 1000, 100_000, 1_000_000):
    p = osmem.os_malloc(size)
    assert p and p % 8 == 0, size
    ctypes.memset(p, 0x5A, size)
    p = osmem.os_realloc(p, size * 3)
    assert ctypes.string_at(p, size) == b"\x5a" * size, size
    q = osmem.os_calloc(size, 1)
    assert ctypes.string_at(q, size) == bytes(size), size
    osmem.os_free(p)
    osmem.os_free(q)
osmem.os_free(None)
assert osmem.os_malloc(0) is None

# The program's own malloc is as it was.
data = [bytearray(n) for n in range(5000)]
assert sum(map(len, data)) == 4999 * 2500
