"""Serves with TensorFlow from several threads for SECONDS, while code objects come and go by the thousand.

Code that is made at run time allocates blocks of a size that says which code it was. Prints a line for each kind:
function, line, bytes that are kept. Ends by itself, while daemon threads still run: the interpreter shuts down with them in it.
"""
import collections
import ctypes
import os
import sys
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
import keras
import numpy as np
import tensorflow as tf

SECONDS = float(sys.argv[1])
KINDS = 97
KEPT = 1000  # Of each kind: a long run does not grow for ever.
malloc = ctypes.PyDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
free = ctypes.PyDLL(None).free
free.restype, free.argtypes = None, [ctypes.c_void_p]
made = collections.Counter()
lock = threading.Lock()
answered = 0
end = time.monotonic() + SECONDS

model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(4)])
step = tf.function(model, input_signature=[tf.TensorSpec((None, 16), tf.float32)])


def serve():
    global answered
    batch = np.ones((8, 16), np.float32)
    while time.monotonic() < end:
        for _ in range(20):
            step(batch)
            tf.nn.relu(tf.constant(batch) * 2.0)
        model.predict(batch, verbose=0)
        with lock:
            answered += 1


def storm(seed):
    kind = seed
    while time.monotonic() < end:
        for _ in range(50):
            kind = (kind * 31 + 7) % KINDS
            # As many code objects, most of them at addresses that were another's.
            lines = "\n" * kind + f"def made_{kind}():\n    return malloc({4001 + 16 * kind})\nblock = made_{kind}()"
            names = {"malloc": malloc}
            exec(compile(lines, f"made_{kind}.py", "exec"), names)
            with lock:
                keep = made[kind] < KEPT
                made[kind] += keep
            if not keep:
                free(names["block"])
        # Kept by no one: the collector finds it, and code objects die inside its run.
        circle = eval("lambda: [x for x in range(3)]")
        circle.__dict__["self"] = circle
        time.sleep(0.005)


def daemon():
    while True:
        exec(compile("[str(x) for x in range(50)]", "daemon.py", "exec"))


threads = [threading.Thread(target=serve) for _ in range(4)]
threads += [threading.Thread(target=storm, args=(seed,)) for seed in (1, 2)]
threading.Thread(target=daemon, daemon=True).start()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for kind, count in sorted(made.items()):
    print(f"made_{kind}", kind + 2, count * (4001 + 16 * kind))
print("answered", answered, file=sys.stderr)
