"""Answers requests, keeps something of them or not, and ends: endings.py MODE [REQUESTS].

    function     keeps a block of each in a variable of a function, which returns in the end
    threads      in thread-local storage of threads that are joined in the end
    daemons      in that of threads that Python ends itself
    emptied      in a list that is emptied now and then, and when its function returns
    tuples       nothing, but each leaves a tuple more in CPython's free lists
    kept-tuples  that tuple, in a list
    kept-dicts   that and a dict, in a list
    kept-in-set  that tuple, in a set
"""
import ctypes
import os
import queue
import sys
import threading
import time

MODE = sys.argv[1]
REQUESTS = int(sys.argv[2]) if len(sys.argv) > 2 else 2_000
mark = getattr(ctypes.CDLL(None), "tftrace_mark", lambda label: None)


def pause():
    # What is freed a tenth of a second after it was made counts as a temporary.
    end = time.perf_counter() + 0.0003
    while time.perf_counter() < end:
        pass


def in_function():
    kept = []
    for request in range(REQUESTS):
        kept.append(bytearray(1501))
        if MODE == "emptied" and len(kept) == 150:
            kept.clear()
        pause()
        mark(b"request")


def in_threads():
    requests, answered, local = queue.SimpleQueue(), queue.SimpleQueue(), threading.local()

    def work():
        local.kept = []
        while requests.get():
            local.kept.append(bytearray(1501))
            pause()
            mark(b"request")
            answered.put(None)

    threads = [threading.Thread(target=work, daemon=MODE == "daemons") for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(REQUESTS):
        requests.put(True)
        answered.get()
    for thread in threads if MODE == "threads" else []:
        requests.put(False)
    for thread in threads if MODE == "threads" else []:
        thread.join()


def tuples():
    kept, seen = [], set()
    for request in range(REQUESTS):
        # It is made with room for ten, and gives most of that back: none is taken from the list of those of two.
        two = tuple(part for part in (MODE, request if MODE == "kept-in-set" else mark))
        if MODE == "kept-tuples":
            kept.append(two)
        elif MODE == "kept-dicts":
            kept.append((two, {"mode": MODE, "mark": mark}))
        elif MODE == "kept-in-set":
            seen.add(two)
        del two
        pause()
        mark(b"request")
    sys.stdout.flush()
    # No last collection, which empties these lists.
    os._exit(0)


{"function": in_function, "emptied": in_function, "threads": in_threads, "daemons": in_threads}.get(MODE, tuples)()
