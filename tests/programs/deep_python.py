"""Allocates far from the root of deep Python stacks, whose callers are elsewhere each time in between, and frees there.

The innermost frames look the same at every allocation: the same functions in the same places, at the same line.
"""
import asyncio
import sys

sys.setrecursionlimit(20_000)


def innermost():
    while True:
        small = [1]
        yield [small, [2]]


def chain(depth):
    if depth:
        yield from chain(depth - 1)
    else:
        yield from innermost()


def recursive(depth):
    if depth:
        return recursive(depth - 1)
    return [depth]


def from_several_lines(depth, rounds):
    generator = chain(depth)
    for _ in range(rounds):
        next(generator)
        next(generator)
        recursive(depth)
        recursive(depth)
        next(generator)


def frees_first(depth, kept):
    """No block is made on the way in; the innermost frees one, and makes one at once."""
    if depth:
        return frees_first(depth - 1, kept)
    kept.pop()
    return [kept]


def freed_from_several_lines(depth, rounds):
    for _ in range(rounds):
        kept = [object(), object(), object()]
        frees_first(depth, kept)
        frees_first(depth, kept)
        frees_first(depth, kept)


async def awaited(depth):
    if depth:
        return await awaited(depth - 1)
    small = [depth]
    await asyncio.sleep(0)
    return [small]


async def tasks(depth):
    await asyncio.gather(*(awaited(depth) for _ in range(10)))


for depth in (20, 40, 60, 80, 150, 400):
    from_several_lines(depth, 10_000 // depth)
    freed_from_several_lines(depth, 10_000 // depth)
for depth in (50, 100, 300):
    asyncio.run(tasks(depth))
