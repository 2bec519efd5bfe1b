"""Measures the time that an epoch of `zoo.train` takes besides its training steps.

    python -m benchmarks.training.epoch [--batches 100] [--epochs 5]

It trains resnet20 with the fast recipe for CIFAR-10, augmentation included, on random images of CIFAR's size: each
epoch as `zoo.train` runs it, and right before it the same compiled step on one batch that stays in memory. The figures
are the shares of the time that do not go into the steps, of the epoch's training and of the whole epoch with evaluation
and checkpoint: minimum, median and maximum over the epochs. On a machine that others share, single epochs are slower by
a fifth; then compare the fastest epoch with the fastest steps.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo

RECIPE = "resnet20_cifar10_fast"
STEPS = 20


class Clock(keras.callbacks.Callback):
    """Records for each epoch the time of a step on a resident batch, of the training, and of the whole epoch."""

    def __init__(self, batch):
        super().__init__()
        self.resident = tf.data.Dataset.from_tensors(batch).repeat()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            iterator = iter(self.resident)
            times = []
            for _ in range(STEPS):
                start = time.perf_counter()
                self.model.train_function(iterator)
                times.append(time.perf_counter() - start)
            self.step = statistics.median(times)
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        # The first epoch traces the step.
        if epoch:
            self.epochs.append((self.step, self.trained - self.began, time.perf_counter() - self.began))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    recipe = zoo.get_recipe(RECIPE)
    rng = np.random.default_rng(0)
    examples = options.batches * recipe.batch_size
    images = rng.integers(0, 256, (examples, 32, 32, 3), dtype="uint8")
    labels = rng.integers(0, 10, examples)
    preprocessing = zoo.Preprocessing.fitted(images, 1 / 255)
    # CIFAR-10 has one test image for five to train with.
    tests = examples // 5
    names = tuple("abcdefghij")
    source = zoo.Source("random", images, labels, images[:tests], labels[:tests], names, preprocessing)
    batch = (preprocessing(images[: recipe.batch_size]), np.eye(10, dtype="float32")[labels[: recipe.batch_size]])
    clock = Clock(batch)
    with tempfile.TemporaryDirectory() as folder:
        zoo.train(recipe, source, Path(folder) / "run", epochs=options.epochs + 1, callbacks=[clock])
    steps, trained, whole = (np.array(times) for times in zip(*clock.epochs, strict=True))
    print(f"a step: {statistics.median(steps) * 1e3:.0f} ms, the median of {len(steps)} medians of {STEPS}")
    for name, times in (("training", trained), ("training, evaluation and checkpoint", whole)):
        shares = 1 - steps * options.batches / times
        fastest = 1 - steps.min() * options.batches / times.min()
        spread = f"{shares.min():.1%}, median {np.median(shares):.1%}, {shares.max():.1%}"
        print(f"{name}: besides the steps {spread}; fastest against fastest {fastest:.1%}")


if __name__ == "__main__":
    main()
