"""CuPy without its memory pool: use_cupy.py MARKER TIMES KEPT."""

import os
import sys

import cupy

cupy.cuda.set_allocator(None)
marker, times, keep = map(int, sys.argv[1:])
kept = [cupy.empty(marker, dtype=cupy.uint8) for _ in range(keep)]
for _ in range(times - keep):
    cupy.empty(marker, dtype=cupy.uint8)
cupy.cuda.runtime.deviceSynchronize()
os._exit(0)  # What is kept is not freed by the interpreter's end.
