"""Allocates marker blocks in every kind of Python call, and prints what `traceback` says of each.

One line a marker: SIZE, a tab, and the frames from the root to the leaf as "function (file:line)", joined by ";".
"""
import asyncio
import contextlib
import ctypes
import functools
import os
import sys
import threading
import traceback

libc = ctypes.CDLL(None)
python = ctypes.PyDLL(None)
for library in (libc, python):
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]

sizes = iter(range(1_000_003, 2_000_000, 2))
lock = threading.Lock()
lines = []


def mark(library=python):
    with lock:
        size = next(sizes)
    library.malloc(size); frames = traceback.extract_stack()
    stack = [f"{frame.name} ({os.path.basename(frame.filename)}:{frame.lineno})" for frame in frames]
    with lock:
        lines.append(f"{size}\t{';'.join(stack)}")


def nested(depth):
    if depth:
        return nested(depth - 1)
    mark()
    mark(libc)


def generator(values):
    for value in values:
        mark()
        yield value
    yield from (nested(1) or value for value in values)


class Thing:
    def __init__(self):
        mark()

    def __getattr__(self, name):
        mark()
        return name

    @property
    def value(self):
        mark()

    def __enter__(self):
        mark()

    def __exit__(self, *exception):
        mark()

    def __del__(self):
        mark()

    @functools.lru_cache
    def cached(self, n):
        mark()


@contextlib.contextmanager
def managed():
    mark()
    yield
    mark()


def exceptions():
    try:
        try:
            {}["no such key"]
        except KeyError:
            mark()
            raise ValueError from None
        finally:
            mark()
    except ValueError:
        nested(
            2
        )


async def task(n):
    mark()
    await asyncio.sleep(0)
    mark()
    if n:
        await task(n - 1)


async def tasks():
    await asyncio.gather(task(2), task(1))
    mark()


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
def compare(a, b):
    mark()
    return a[0] - b[0]


def callbacks():
    sorted([2, 1], key=lambda value: mark() or value)
    list(map(lambda value: nested(1), [1]))
    numbers = (ctypes.c_int * 2)(2, 1)
    libc.qsort(numbers, 2, ctypes.sizeof(ctypes.c_int), compare)
    functools.reduce(lambda a, b: mark(), [1, 2, 3])


def executed():
    for round in range(200):
        # As many code objects, most of them at addresses that were another's.
        source = "\n" * (round % 7) + f"def made_{round}():\n    mark()\nmade_{round}()"
        exec(compile(source, f"made_{round % 3}.py", "exec"), {"mark": mark})
    eval("mark()")


def switched():
    import greenlet

    def other():
        nested(1)
        main.switch()
        mark()

    main = greenlet.getcurrent()
    green = greenlet.greenlet(other)
    green.switch()
    mark()
    green.switch()


def run(name):
    nested(3)
    for _ in generator([1, 2]):
        mark()
    thing = Thing()
    thing.value
    thing.other
    with thing:
        mark()
    thing.cached(1)
    Thing.cached.cache_clear()
    del thing
    with managed():
        nested(1)
    exceptions()
    [mark() for _ in range(2)]
    {key: mark() for key in range(2)}
    callbacks()
    executed()
    asyncio.run(tasks())
    try:
        switched()
    except ImportError:
        print(f"skipped: no greenlet for {sys.version.split()[0]}", file=sys.stderr)


run("main")
threads = [threading.Thread(target=run, args=(str(number),)) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("\n".join(lines))
