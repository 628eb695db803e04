"""Keeps a block in each request, and leaves another one in a circle that waits for the cycle collector: garbage.py."""
import ctypes
import gc


class Node:
    pass


held = []


def hold():
    held.append(bytearray(1501))


def leave():
    node = Node()
    node.itself = node
    node.data = bytearray(1001)


# What was imported is not looked at again, and no collection runs before the end.
gc.freeze()
gc.set_threshold(10**9)
mark = getattr(ctypes.CDLL(None), "tftrace_mark", lambda label: None)
for _ in range(10_000):
    hold()
    leave()
    mark(b"request")
print("done")
