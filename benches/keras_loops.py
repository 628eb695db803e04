"""A small Keras model that answers in a loop: eager calls, `predict`, a `tf.function`, or a SavedModel in two threads.

    python keras_loops.py eager|predict|function|saved [ROUNDS]
"""
import concurrent.futures
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy
import tensorflow as tf

kind = sys.argv[1]
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else {"eager": 1500, "predict": 60, "function": 6000, "saved": 3000}[kind]
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
batch = numpy.zeros((32, 64), numpy.float32)


def answer(call):
    for _ in range(rounds):
        call(tf.constant(batch))


if kind == "eager":
    for _ in range(rounds):
        model(batch)
elif kind == "predict":
    for _ in range(rounds):
        model.predict(batch, verbose=0)
elif kind == "function":
    answer(tf.function(model))
else:
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        served = tf.saved_model.load(folder).signatures["serving_default"]
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            list(threads.map(answer, [served] * 2))
