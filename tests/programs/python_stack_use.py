"""Prints "WHEN FUNCTION BYTES": the stack that each allocation takes, called under Python functions. Argument: the library."""
import ctypes
import sys
import threading

stack_of = ctypes.PyDLL(sys.argv[1]).stack_of
stack_of.restype, stack_of.argtypes = ctypes.c_long, [ctypes.c_int]
# In this order: each frees what the one before it made.
NAMES = ("malloc", "realloc", "free", "PyMem_Malloc", "PyMem_Free", "PyObject_Malloc", "PyObject_Free")


def measure(when, depth):
    if depth:
        return measure(when, depth - 1)
    used = [stack_of(kind) for kind in range(len(NAMES))]
    for name, count in zip(NAMES, used):
        print(when, name, count, file=sys.stderr)


def generator(when):
    yield measure(when, 3)


def everything():
    measure("shallow", 0)
    measure("deep", 300)
    list(generator("generator"))
    # Sixty functions that the tracer has not seen, each called by the one before it.
    names, text = [f"made_{number}" for number in range(60)], ""
    for name, below in zip(names, names[1:] + ["stack_of"]):
        text += f"def {name}(kind):\n    return {below}(kind)\n"
    made = {"stack_of": stack_of}
    exec(compile(text, "made.py", "exec"), made)
    for kind, name in enumerate(NAMES):
        print("new-code", name, made["made_0"](kind), file=sys.stderr)
    [list(sorted([1], key=lambda _: measure("callback", 2)))]


for target in (everything, everything):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
everything()
