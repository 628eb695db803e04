"""Keeps Python objects that the interpreter frees while it shuts down, so many pairs of them. Prints the bytes of what is
kept."""

import sys

PAIRS = int(sys.argv[1])
kept = []
HEADER = bytes.__sizeof__(b"")


class Node:
    pass


def keep(size):
    node = Node()
    node.circle = node  # Nobody but the cycle collector frees it.
    node.value = bytes(size)
    kept.append(node)


for _ in range(PAIRS):
    keep(401)
    keep(6001)
print(PAIRS * (2 * HEADER + 401 + 6001))
