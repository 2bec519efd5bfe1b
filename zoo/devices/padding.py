"""Batches that several devices share evenly, the last one of an epoch included."""

from typing import TYPE_CHECKING

import keras
import numpy as np

from ..data import Batches

if TYPE_CHECKING:
    import tensorflow as tf


class PaddedBatches(keras.utils.PyDataset):
    """Batches with weights, of which every device gets a part of the same size.

    No backend divides a batch that its devices do not divide: JAX refuses it, and TensorFlow averages over parts of
    different size as if they were alike. So a batch of n examples is filled up with copies of its own, to the next
    multiple N of the devices. The copies weigh 0. In training the others weigh N / n, which makes the mean over N the
    mean over the n; in evaluation they weigh 1, so that weighted metrics are those of the n examples. Batch statistics
    count the copies.

    Args:
        batches: Those of this process.
        devices: How many of them all processes have together.
    """

    def __init__(self, batches: Batches, devices: int) -> None:
        super().__init__(workers=batches.workers, use_multiprocessing=False)
        self.batches, self.devices = batches, devices

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images, labels = self.batches[index]
        size = self.batches.batch_size
        total = min(size, len(self.batches.images) - (self.batches.position[1] + index) * size)
        filled = -(-total // self.devices) * self.devices
        share, real = filled // self.batches.shard[1], len(images)
        weights = np.zeros(share, "float32")
        weights[:real] = 1 if self.batches.seed is None else filled / total
        if real == share:
            return images, labels, weights
        # np.resize repeats from the start, and gives zeros where this process has no example at all.
        return np.resize(images, (share, *images.shape[1:])), np.resize(labels, (share, *labels.shape[1:])), weights


def distribute(shares: PaddedBatches) -> "tf.distribute.DistributedDataset":
    """The batches as a data set of the current `tf.distribute` strategy.

    Keras would look at the first batch of a PyDataset that a strategy distributes, and go on from there: the threads
    that fetch ahead do not start again, so that epochs would begin in their middle. This one begins anew in each epoch.
    """
    import tensorflow as tf

    images, labels, weights = shares[0]
    types = [array.dtype for array in (images, labels, weights)]
    shapes = [(None, *array.shape[1:]) for array in (images, labels, weights)]

    def fetch(index: "tf.Tensor") -> "tuple[tf.Tensor, ...]":
        arrays = tf.numpy_function(lambda number: shares[int(number)], [index], types)
        return tuple(tf.ensure_shape(array, shape) for array, shape in zip(arrays, shapes, strict=True))

    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = tf.data.Dataset.range(len(shares)).map(fetch, num_parallel_calls=shares.workers, deterministic=True)
    dataset = dataset.prefetch(2 * shares.workers).with_options(options)
    return tf.distribute.get_strategy().experimental_distribute_dataset(dataset)
