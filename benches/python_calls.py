"""What a Python frame costs the interpreter to begin and to end, in nanoseconds: the least of many rounds.

    python benches/python_calls.py

`tracer/src/python/out_of_reach.rs` reckons with a fraction of it.
"""
import sys
import time

DEPTH = 100


def functions():
    """Functions of which each does nothing but call the next."""
    source = "def f0(): return 1\n" + "".join(f"def f{at}(): return f{at - 1}()\n" for at in range(1, DEPTH))
    defined = {}
    exec(source, defined)
    return defined[f"f{DEPTH - 1}"]


def generators(depth=DEPTH):
    """A generator inside as many others: what it yields goes through all of them."""
    while depth == 0:
        yield 1
    yield from generators(depth - 1)


def least_ns(work):
    least = float("inf")
    for _ in range(2000):
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
    return least / DEPTH * 1e9


if __name__ == "__main__":
    call, generator = functions(), generators()
    next(generator)
    print(f"{sys.version.split()[0]}: {least_ns(call):.1f} ns a function, {least_ns(lambda: next(generator)):.1f} ns a generator")
