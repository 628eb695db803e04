"""Keeps a record of small objects for each request, beside work that needs such objects for a moment: kept_records.py [IDLE [unmarked]].

Python gives their memory from one to the next without asking for new, so that most of what the records take was asked
for by the work. After the last request it waits for IDLE seconds; unmarked, nothing says what a request is."""
import ctypes
import sys
import time

records = []


def work(number):
    halves = [number / 2.5, number / 3.5, number / 4.5, number / 5.5]
    pairs = [(half, half + 0.25) for half in halves]
    return sum(first * second for first, second in pairs)


def note(number, result):
    records.append((number, result, [result + 0.5]))


def handle(number):
    result = work(number)
    note(number, result)


idle = float(sys.argv[1]) if sys.argv[1:] else 0.0
mark = getattr(ctypes.CDLL(None), "tftrace_mark", lambda label: None)
if sys.argv[2:] == ["unmarked"]:
    mark = lambda label: None
for number in range(10_000):
    handle(number)
    mark(b"request")
time.sleep(idle)
print("done")
