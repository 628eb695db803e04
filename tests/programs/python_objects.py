"""Keeps Python objects of known sizes, small and large, and drops others. Prints line and bytes of what is kept."""
import os
import sys

kept = [None] * 4000
HEADER = bytes.__sizeof__(b"")


def keep(place, size):
    kept[place] = bytes(size); return sys._getframe().f_lineno


def drop(size):
    for _ in range(1000):
        bytes(size)


class Node:
    __slots__ = ("value",)


def main():
    line = 0
    for place in range(3000):
        line = keep(place, 101)  # In an arena.
    for place in range(3000, 4000):
        keep(place, 5001)  # From malloc.
    for size in (102, 5002):
        drop(size)
    grown = bytearray()
    for _ in range(3000):
        grown += b"x" * 7
    print(line, 3000 * (HEADER + 101), 1000 * (HEADER + 5001), flush=True)
    os._exit(0)


main()
