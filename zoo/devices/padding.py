"""Pads batches so that several devices, or parts that are computed in turn, share each evenly, even the last one."""

from typing import TYPE_CHECKING

import keras
import numpy as np

from ..data import Batches

if TYPE_CHECKING:
    import tensorflow as tf


class PaddedBatches(keras.utils.PyDataset):
    """Batches, with weights, in which each device and each of the parts that it computes in turn have the same size.

    No backend splits a batch unevenly: JAX refuses it, and TensorFlow averages over parts of different size as if they
    were equal. So a batch of n examples is padded with copies of its examples to N, the next multiple of the number of
    parts. The copies have weight 0. The others have weight N / n in training, which makes the mean over N the mean
    over n, and weight 1 in evaluation, so that weighted metrics are those of the n examples. Batch statistics count the
    copies.

    Args:
        batches: The batches of this process.
        parts: How many parts a batch has: the number of devices of all processes, times the parts of each device.
    """

    def __init__(self, batches: Batches, parts: int) -> None:
        super().__init__(batches.workers, use_multiprocessing=False, max_queue_size=batches.max_queue_size)
        self.batches, self.parts = batches, parts

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images, labels = self.batches[index]
        size = self.batches.batch_size
        total = min(size, len(self.batches.images) - (self.batches.position[1] + index) * size)
        filled = -(-total // self.parts) * self.parts
        share, real = filled // self.batches.shard[1], len(images)
        weights = np.zeros(share, "float32")
        weights[:real] = 1 if self.batches.seed is None else filled / total
        if labels.ndim > 2:
            # Of masks, where Keras multiplies weights with the losses of all pixels.
            weights = weights.reshape(-1, *[1] * (labels.ndim - 1))
        if real == share:
            return images, labels, weights
        # np.resize repeats from the start, and gives zeros if this process has no example at all.
        return np.resize(images, (share, *images.shape[1:])), np.resize(labels, (share, *labels.shape[1:])), weights


def distribute(shares: PaddedBatches) -> "tf.distribute.DistributedDataset":
    """Turns the batches into a data set of the current `tf.distribute` strategy.

    Keras peeks at the first batch of a PyDataset under a strategy and does not restart the threads that prefetch, so
    epochs would begin in their middle. This data set starts again in each epoch.
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
    dataset = dataset.prefetch(min(2 * shares.workers, shares.max_queue_size)).with_options(options)
    return tf.distribute.get_strategy().experimental_distribute_dataset(dataset)
