"""What the tests of devices and of hosts run in processes of their own: a short training, and the weights it gives."""

import sys

import keras
import numpy as np

import zoo
from zoo.data import Augmentation
from zoo.devices.selection import select

NETWORK, DEVICES, EXAMPLES, BATCH, OUT, THEN = sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:7]

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)

devices = select("cpu", DEVICES)
devices.check(BATCH)
digits = zoo.load_source("digits")


def batches(part, batch_size, **options):
    images, labels = getattr(digits, f"{part}_inputs"), getattr(digits, f"{part}_targets")
    options |= {"shard": devices.hosts.shard}
    return zoo.Batches(images[:EXAMPLES], labels[:EXAMPLES], 10, digits.preprocessing, batch_size, **options)


class SetEpoch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        training.epoch = epoch


keras.utils.set_random_seed(0)
training = batches("train", BATCH, seed=0, augmentation=Augmentation(pad=1))
with devices.scope():
    model = zoo.build(NETWORK, input_shape=(8, 8, 1), classes=10, depth=3)
    model.compile(
        keras.optimizers.SGD(0.02, momentum=0.9),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() == "jax",
    )
    options = {
        "shuffle": False,
        "validation_data": devices.feed(batches("test", devices.round_up(100))),
        "verbose": 0,
        "callbacks": [SetEpoch()],
    }
    history = model.fit(devices.feed(training), epochs=2, **options).history
    figures = {name: np.float64(values) for name, values in history.items()}
    np.savez(f"{OUT}{devices.hosts.rank}.npz", *model.get_weights(), **figures)
    if THEN == "continue":
        print("ready", flush=True)
        model.fit(devices.feed(training), epochs=10**6, **options)
