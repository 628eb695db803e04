#!/usr/bin/env python3
"""A model server in one process: clients ask what is in a picture, a Keras model answers.

    python examples/serve.py [REQUESTS]

Two client threads send REQUESTS pictures (1200 if not said). Preparing a picture is done by a small C library, and
that library has a leak on purpose. What looks like a leak and is none: the answers to the last 64 pictures are kept.
The last line says how many bytes were really leaked; a leak report must find the same figure.
"""
import collections
import concurrent.futures
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# NumPy's BLAS maps 34 MB for each of its threads; TensorFlow does the work here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import keras
import numpy
import tensorflow as tf

HERE = pathlib.Path(__file__).resolve().parent
PICTURE_SIDE = 192
SCRATCH_BYTES = PICTURE_SIDE * PICTURE_SIDE * ctypes.sizeof(ctypes.c_float)
CLIENTS = 2
CACHED_ANSWERS = 64


def load_preprocess() -> ctypes.CDLL:
    """Compiles preprocess.c with debug information, so that a leak report can name its lines."""
    # Fixed, and kept: the report is made after this program has ended, and needs the file.
    folder = pathlib.Path(os.environ.get("SERVE_BUILD") or tempfile.gettempdir())
    library = folder / f"libpreprocess-{os.getuid()}.so"
    fresh = library.with_suffix(f".{os.getpid()}")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-g", "-O1", "-fPIC", "-shared", "-o", fresh, HERE / "preprocess.c"], check=True)
    fresh.rename(library)
    loaded = ctypes.CDLL(str(library))
    loaded.normalize_request.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return loaded


class Server:
    """Answers requests; safe to use from several threads."""

    def __init__(self) -> None:
        self.preprocess = load_preprocess()
        self.model = keras.Sequential([
            keras.Input((32, 32, 1)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ])
        self.answer = tf.function(self.model, input_signature=[tf.TensorSpec((None, 32, 32, 1), tf.float32)])
        self.lock = threading.Lock()
        self.recent: collections.OrderedDict[int, int] = collections.OrderedDict()
        self.leaked_bytes = 0

    def handle_request(self, number: int, picture: numpy.ndarray) -> int:
        """Gives the class of a picture."""
        small = numpy.empty((1, 32, 32, 1), numpy.float32)
        stretched = self.preprocess.normalize_request(picture.ctypes.data, PICTURE_SIDE, small.ctypes.data)
        if stretched < 0:
            raise MemoryError("normalize_request")
        label = int(tf.argmax(self.answer(small)[0]))
        with self.lock:
            self.leaked_bytes += 0 if stretched else SCRATCH_BYTES
            self.recent[number] = label
            while len(self.recent) > CACHED_ANSWERS:
                self.recent.popitem(last=False)
        return label


def picture_of(number: int) -> numpy.ndarray:
    """A picture of noise; every third is dim, which takes the way through preprocess.c that has no leak."""
    brightness = 60 if number % 3 == 0 else 256
    noise = numpy.random.default_rng(number)
    return noise.integers(0, brightness, (PICTURE_SIDE, PICTURE_SIDE), numpy.uint8)


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 1200
    server = Server()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS, thread_name_prefix="client") as clients:
        for _ in clients.map(lambda number: server.handle_request(number, picture_of(number)), range(requests)):
            pass
    print(f"answered {requests} requests, kept the last {len(server.recent)} answers")
    print(f"leaked {server.leaked_bytes} bytes in normalize_request (preprocess.c)")


if __name__ == "__main__":
    main()
