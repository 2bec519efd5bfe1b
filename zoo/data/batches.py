"""The input pipeline. Each batch is a pure function of (seed, epoch, batch), so two integers describe any position of a
training run.
"""

import functools
from typing import Any

import keras
import numpy as np

from ..tasks import task_of
from .augmentation import Augmentation
from .augmentation.checks import check_augmentation
from .augmentation.rand_augment import rand_augment
from .augmentation.transforms import crop, cut_out, flip, mix, resize
from .rows import chunks, first_rows
from .source import Preprocessing, Source

NOTHING = Augmentation()


class Batches(keras.utils.PyDataset):
    """Preprocessed inputs and encoded targets, batch by batch: one-hot labels, floats or masks.

    Call `fit` with `shuffle=False`, because Keras would shuffle whole batches with Python's global generator. With a
    seed the data set shuffles its examples itself, differently in each epoch. Set the epoch before it begins: Keras
    fetches batches before it calls `on_epoch_begin` of this class, and calls `on_epoch_end` once too often.

    Keras asks for the number of batches once for a whole `fit`. So the rest of an epoch, from a `position` in its
    middle, needs a `fit` of its own, and the epochs after it another one.

    Args:
        images: Raw inputs, such as pixels, uint8, (examples, height, width, channels).
        labels: The targets, as in `zoo.Source`, such as integers, (examples,).
        classes: Number of classes, or of other outputs.
        preprocessing: Turns the inputs into those of the network.
        batch_size: Examples in each batch but the last, which may have fewer.
        seed: For the order and the augmentation. None: in order and without augmentation.
        augmentation: The changes to the images.
        epochs: The length of the run, by whose fractions `augmentation.sizes` changes.
        start: The batch of epoch 0 to begin at; see `position`.
        shard: (rank, count): each of several processes gets its slice of every batch. The slices of all ranks together
            are the batch of a single process.
        task: What the labels are: "classification", "regression" or "segmentation".

    Attributes:
        epoch: The current epoch. Setting another one starts at its first batch.
        position: (epoch, batch): the epoch and its first batch to come.

    Example:

    >>> import zoo
    >>> source = zoo.load_source("digits")
    >>> batches = zoo.Batches(source.test_inputs, source.test_targets, 10, source.preprocessing, 128)
    >>> images, labels = batches[0]
    >>> images.shape, labels.shape
    ((128, 8, 8, 1), (128, 10))
    >>> batches.position = (3, 1)
    >>> len(batches)
    2
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: int,
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        seed: int | None = None,
        augmentation: Augmentation = NOTHING,
        epochs: int = 1,
        start: int = 0,
        shard: tuple[int, int] = (0, 1),
        task: str = "classification",
    ) -> None:
        # With one worker Keras wraps the data set in a self-tuning tf.data pipeline, and epochs end late.
        super().__init__(workers=2, use_multiprocessing=False)
        rank, count = shard
        if not 0 <= rank < count:
            raise ValueError(f"Expected shard to be (rank, count) with 0 <= rank < count. Received: shard={shard}")
        if batch_size < 1 or batch_size % count:
            raise ValueError(
                f"Expected batch_size to be a positive multiple of the {count} processes. "
                f"Received: batch_size={batch_size}"
            )
        self.images, self.labels, self.preprocessing = images, labels, preprocessing
        self.task, self.outputs = task_of(task), classes
        self.batch_size, self.seed = batch_size, seed
        self.augmentation, self.epochs, self.shard = augmentation, epochs, shard
        check_augmentation(augmentation, images, self.task)
        self.brightest = _find_brightest(images, preprocessing) if augmentation.rand_ops else 255
        # Whether an image is mirrored in epoch 0. No other generator has these three numbers.
        self._mirrored = np.random.default_rng((seed or 0, 0, 2)).random(len(images)) < 0.5
        self.position = (0, start)
        self._order = functools.lru_cache(maxsize=2)(self._shuffle)

    @property
    def position(self) -> tuple[int, int]:
        return self._position

    @position.setter
    def position(self, position: tuple[int, int]) -> None:
        epoch, batch = position
        if epoch < 0 or not 0 <= batch < self.batches_per_epoch:
            raise ValueError(
                f"Expected position to be an epoch and one of its {self.batches_per_epoch} batches, counted from 0. "
                f"Received: position={position}"
            )
        self._position = epoch, batch

    @property
    def epoch(self) -> int:
        return self._position[0]

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.position = (epoch, 0)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches a whole epoch has."""
        return -(-len(self.images) // self.batch_size)

    def __len__(self) -> int:
        return self.batches_per_epoch - self.position[1]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, start = self.position
        return self.batch(epoch, start + index)

    def batch(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Makes a batch, or this process's slice of it, from the seed and two integers."""
        chosen = self._order(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        count, (rank, ranks) = len(chosen), self.shard
        mixes = self.seed is not None and self.augmentation.mixes
        # Each image is mixed with the next one, and the last one with the first; the order is random already.
        indices = np.arange(rank * count // ranks, (rank + 1) * count // ranks + mixes) % count
        which = chosen[indices]
        images, labels = self.images[which], self.task.encode(self.labels[which], self.outputs)
        if self.seed is None:
            images = self.preprocessing(images)
        else:
            rng = np.random.default_rng((self.seed, epoch, 1, index))
            images, labels = self._augment(images, labels, rng, count, indices, epoch, which)
        return to_data_format(images), labels

    def _augment(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        rng: np.random.Generator,
        count: int,
        indices: np.ndarray,
        epoch: int,
        which: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        options = self.augmentation
        if self.task.per_pixel:
            # A mask moves as one more channel: 255 - mask, so that the zeros of padding and cutout become 255, ignored.
            images = np.concatenate([images, 255 - labels[..., None].astype("uint8")], axis=-1)
        if options.pad:
            images = crop(images, options.pad, options.pad_mode, rng, count, indices)
        if options.flip == "alternating":
            images = flip(images, self._mirrored[which] ^ bool(epoch % 2))
        elif options.flip:
            images = flip(images, rng.random(count)[indices] < 0.5)
        if options.rand_ops:
            strength = options.rand_magnitude
            images = rand_augment(images, options.rand_ops, strength, rng, count, indices, self.brightest)
        if self.task.per_pixel:
            images = np.concatenate([self.preprocessing(images[..., :-1]), images[..., -1:]], axis=-1)
        else:
            images = self.preprocessing(images)
        if options.cutout:
            images = cut_out(images, options.cutout, rng, count, indices)
        if self.task.per_pixel:
            images, labels = images[..., :-1], 255 - images[..., -1].astype("int32")
        if options.mixes:
            images, labels = mix(images, labels, options, rng, count, indices)
        height = self.height(epoch)
        return images if height in (None, images.shape[1]) else resize(images, height), labels

    def height(self, epoch: int) -> int | None:
        """The height of the images of an epoch; None: their own."""
        return self.augmentation.height(epoch / self.epochs)

    def _shuffle(self, epoch: int) -> np.ndarray:
        if self.seed is None:
            return np.arange(len(self.images))
        return np.random.default_rng((self.seed, epoch, 0)).permutation(len(self.images))


def _find_brightest(images: np.ndarray, preprocessing: Preprocessing) -> float:
    """Finds the largest possible pixel: the value that `preprocessing.scale` makes 1, or 255 if pixels exceed it."""
    brightest = 1 / preprocessing.scale
    if abs(brightest - 255) < 0.5:
        return 255
    found = 0
    for chunk in chunks(images):
        found = max(found, int(chunk.max()))
        if found > max(brightest, 127):
            return 255
    if found <= brightest <= 255:
        return brightest
    if found > 127:
        return 255
    raise ValueError(
        "Expected pixels from 0 to 255, or from 0 to 1 / preprocessing.scale, for rand_ops, which needs their range. "
        f"Received: pixels up to {found}, scale={preprocessing.scale!r}"
    )


def batches_of(
    source: Source,
    part: str,
    preprocessing: Preprocessing,
    batch_size: int,
    limit: int | None = None,
    **options: Any,
) -> Batches:
    """Batches a part of a source, or its first examples; `options` are those of `Batches`."""
    inputs, targets = (first_rows(getattr(source, f"{part}_{kind}"), limit) for kind in ("inputs", "targets"))
    return Batches(inputs, targets, source.outputs, preprocessing, batch_size, task=source.task, **options)


def to_data_format(inputs: np.ndarray) -> np.ndarray:
    """Moves the channels, which are last, to where `keras.config.image_data_format()` has them."""
    first = keras.config.image_data_format() == "channels_first" and inputs.ndim > 2
    return np.moveaxis(inputs, -1, 1) if first else inputs
