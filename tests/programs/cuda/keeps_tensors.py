"""A service on a GPU that keeps a result of each request: keeps_tensors.py [out-of-memory]."""

import ctypes
import sys

import tensorflow as tf

assert tf.config.list_physical_devices("GPU"), "no GPU"
mark = getattr(ctypes.CDLL(None), "tftrace_mark", lambda label: 0)
kept = []


def handle(request):
    with tf.device("/GPU:0"):
        return tf.add(weights, float(request))


def serve(request):
    result = handle(request)
    temporary = tf.nn.relu(result)
    kept.append(result)
    return temporary


with tf.device("/GPU:0"):
    weights = tf.Variable(tf.zeros([50_000]))
print("device", weights.device)
for request in range(400):
    serve(request)
    mark(b"request")
if len(sys.argv) > 1:
    try:
        while True:
            kept.append(tf.zeros([100_000_000]))
    except tf.errors.ResourceExhaustedError:
        print("out of memory")
print("done")
