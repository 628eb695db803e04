"""A small Keras model that answers in a loop: eager calls, `predict`, a `tf.function`, or a SavedModel in two threads.

    python keras_loops.py eager|predict|function|saved [ROUNDS]

Prints what a call takes in the second half of the loop, but for a SavedModel.
"""
import concurrent.futures
import os
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy
import tensorflow as tf

kind = sys.argv[1]
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else {"eager": 1500, "predict": 60, "function": 6000, "saved": 3000}[kind]
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
batch = numpy.zeros((32, 64), numpy.float32)


def answer(call, count=rounds):
    for _ in range(count):
        call(tf.constant(batch))


def timed(loop):
    loop(rounds - rounds // 2)
    start = time.process_time()
    loop(rounds // 2)
    print(f"{(time.process_time() - start) * 1000 / max(rounds // 2, 1):.2f} ms of CPU time a call")


def eager(count):
    for _ in range(count):
        model(batch)


def predict(count):
    for _ in range(count):
        model.predict(batch, verbose=0)


if kind == "eager":
    timed(eager)
elif kind == "predict":
    timed(predict)
elif kind == "function":
    function = tf.function(model)
    timed(lambda count: answer(function, count))
else:
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        served = tf.saved_model.load(folder).signatures["serving_default"]
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            list(threads.map(answer, [served] * 2))
