"""Compares batches of images in memory with the same augmentation by tf.data and Keras's preprocessing layers.

    python -m benchmarks.training.arrays [--batch 128] [--batches 40] [--rounds 5]

Both cut random images of CIFAR's size into batches, alternately in one process, with two threads. The figures are the
images per second, as the median over the rounds, and the median, minimum and maximum of their ratio. The last column is
our time for a batch on one core, to compare with a training step.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import zoo
from zoo.data import Augmentation

EXAMPLES, CLASSES, SHAPE = 20_000, 10, (32, 32, 3)
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)

CROP = {"pad": 4, "flip": True}
# Keras's layers for the same: RandomErasing has no square around any pixel, but cuts out as much.
CASES = {
    "crop and flip": (CROP, []),
    "+ cutout": (CROP | {"cutout": 16}, [lambda: layers.RandomErasing(scale=(0.25, 0.25), fill_value=0)]),
    "+ RandAugment": (CROP | {"rand_ops": 2}, [lambda: layers.RandAugment((0, 255), num_ops=2, factor=0.9)]),
    "+ mixup": (CROP | {"mixup": 0.2}, [lambda: layers.MixUp(alpha=0.2)]),
}


def make_batches(images, labels, batch, options):
    preprocessing = zoo.Preprocessing(1.0, MEAN, STD)
    return zoo.Batches(images, labels, CLASSES, preprocessing, batch, seed=0, augmentation=Augmentation(**options))


def make_dataset(images, labels, batch, extra):
    steps = [layers.RandomCrop(*SHAPE[:2]), layers.RandomFlip("horizontal"), *(make() for make in extra)]
    normalise = layers.Normalization(mean=MEAN, variance=np.square(STD))

    def augment(images, labels):
        found = {"images": tf.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0))), "labels": labels}
        for step in steps:
            if isinstance(step, layers.MixUp):
                found = step(found, training=True)
            else:
                found["images"] = step(found["images"], training=True)
        return normalise(found["images"]), found["labels"]

    data = tf.data.Dataset.from_tensor_slices((images, np.eye(CLASSES, dtype="float32")[labels]))
    data = data.shuffle(len(images), seed=0).repeat().batch(batch)
    return data.map(augment, num_parallel_calls=2).prefetch(2)


def time_batches(data, count):
    """Times batches as Keras takes them: two threads in turn, a few ahead."""
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda index: data.batch(index // len(data), index % len(data)), range(count)):
            pass
    return time.perf_counter() - start


def time_dataset(iterator, count):
    start = time.perf_counter()
    for _ in range(count):
        next(iterator)
    return time.perf_counter() - start


def milliseconds(data):
    """Returns the least processor time of a batch, without threads."""
    times = []
    for index in range(20):
        start = time.thread_time()
        data.batch(1, index)
        times.append(time.thread_time() - start)
    return 1000 * min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=40, help="in each round, of each pipeline")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, *SHAPE), dtype="uint8")
    labels = rng.integers(0, CLASSES, EXAMPLES)
    print(f"{'augmentation':16}{'zoo':>12}{'tf.data':>12}{'ratio':>8}{'least':>8}{'most':>8}{'ms/batch':>10}")
    for name, (augmentation, extra) in CASES.items():
        mine = make_batches(images, labels, options.batch, augmentation)
        iterator = iter(make_dataset(images, labels, options.batch, extra))
        time_batches(mine, 4), time_dataset(iterator, 4)
        rates = []
        for _ in range(options.rounds):
            done = options.batch * options.batches
            first = done / time_batches(mine, options.batches)
            rates.append((first, done / time_dataset(iterator, options.batches)))
        ratios = sorted(a / b for a, b in rates)
        zoos, others = (statistics.median(column) for column in zip(*rates, strict=True))
        print(
            f"{name:16}{zoos:12,.0f}{others:12,.0f}{statistics.median(ratios):8.2f}{ratios[0]:8.2f}{ratios[-1]:8.2f}"
            f"{milliseconds(mine):10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
