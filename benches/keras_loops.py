"""A small Keras model that answers in a loop: eager calls, or `predict`.

    python keras_loops.py eager|predict [ROUNDS]
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy

kind = sys.argv[1]
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else {"eager": 1500, "predict": 60}[kind]
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
batch = numpy.zeros((32, 64), numpy.float32)
for _ in range(rounds):
    if kind == "eager":
        model(batch)
    else:
        model.predict(batch, verbose=0)
