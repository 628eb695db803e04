"""JAX without its pool: use_jax.py MARKER TIMES KEPT."""

import os
import sys

import jax
import numpy

marker, times, keep = map(int, sys.argv[1:])
block = numpy.zeros(marker, dtype=numpy.uint8)
kept = [jax.device_put(block).block_until_ready() for _ in range(keep)]
for _ in range(times - keep):
    jax.device_put(block).block_until_ready()
os._exit(0)  # What is kept is not freed by the interpreter's end.
