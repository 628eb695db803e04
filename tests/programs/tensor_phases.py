"""Allocates tensors in one of the ways a service does: PHASE is one of the functions below.

What is allocated before the phase is small beside what the phase allocates.
"""
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
import numpy as np
import tensorflow as tf

SIDE = 512
ROUNDS = 20


class Module(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, SIDE], tf.float32)])
    def serve(self, x):
        return {"y": tf.nn.relu(tf.matmul(x, x) + 1.0)}


def model():
    layers = [tf.keras.layers.Dense(SIDE, activation="relu") for _ in range(4)]
    model = tf.keras.Sequential([tf.keras.Input((SIDE,)), *layers])
    model.compile("sgd", "mse")
    return model


def eager(x):
    for _ in range(ROUNDS):
        y = tf.nn.relu(tf.matmul(x, x) + 1.0)
        y = tf.concat([y, y], 0)


def tf_function(x):
    function = tf.function(lambda x: tf.reduce_sum(tf.nn.relu(tf.matmul(x, x) + 1.0)) * x)
    for _ in range(ROUNDS):
        function(x)


def saved_model(x):
    with tempfile.TemporaryDirectory() as place:
        tf.saved_model.save(Module(), place)
        serve = tf.saved_model.load(place).signatures["serving_default"]
        for _ in range(ROUNDS):
            serve(x=x)


def keras_call(x):
    m = model()
    for _ in range(ROUNDS):
        m(x)


def keras_predict(x):
    m, data = model(), np.ones((64 * 8, SIDE), np.float32)
    for _ in range(ROUNDS):
        m.predict(data, batch_size=64, verbose=0)


def keras_fit(x):
    m, data = model(), np.ones((64 * 8, SIDE), np.float32)
    m.fit(data, data, batch_size=64, epochs=ROUNDS, verbose=0)


globals()[sys.argv[1]](tf.ones([SIDE, SIDE]))
print("done")
