"""Keeps one tensor of 1000x1000 float32, beside many that are dropped."""
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import tensorflow as tf

kept = []


def drop(x):
    for _ in range(20):
        tf.matmul(x, x)


def keep(x):
    kept.append(tf.multiply(x, 2.0, name="kept"))


x = tf.ones([1000, 1000])
drop(x)
keep(x)
del x
print("done", flush=True)
# The heap as it stands while the service runs: the interpreter's exit would free it.
os._exit(0)
