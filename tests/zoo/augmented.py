"""Batches of random images under an augmentation, and a whole epoch of them without the shuffling."""

import numpy as np

import zoo

PLAIN = zoo.Preprocessing(1.0, (0.0,), (1.0,))


def images(count=300, shape=(8, 10, 3)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype="uint8")


def batches(augmentation, data=None, size=60, preprocessing=PLAIN, **options):
    data = images() if data is None else data
    labels = np.arange(len(data)) % 7
    return zoo.Batches(data, labels, 7, preprocessing, size, augmentation=augmentation, **{"seed": 3} | options)


def whole(augmentation, data, **options):
    """All of an epoch, without the shuffling."""
    found = batches(augmentation, data, **options)
    found.order = lambda epoch: np.arange(len(data))
    parts = [found.batch(0, index) for index in range(len(found))]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
