"""Data sources, one function each, and the input pipeline.

A source holds raw 8-bit pixels and says how a network is to see them; the pipeline cuts them into batches. Each batch
is a pure function of (seed, epoch, batch), so any position of a training run can be reached again from two integers.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from ._names import unknown


@dataclass(frozen=True)
class Preprocessing:
    """How raw pixels become a network's input: (scale * pixels - mean) / std, with one mean and std for each channel.

    Example:

    >>> import numpy as np
    >>> from zoo import Preprocessing
    >>> Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,))(np.uint8([[[255]]]))
    array([[[2.]]], dtype=float32)
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        scaled = pixels.astype("float32") * np.float32(self.scale)
        return (scaled - np.array(self.mean, "float32")) / np.array(self.std, "float32")

    @classmethod
    def fitted(cls, pixels: np.ndarray, scale: float) -> "Preprocessing":
        """The preprocessing that gives these pixels mean 0 and standard deviation 1 in each channel."""
        scaled = pixels.astype("float64") * scale
        mean, std = scaled.mean(axis=(0, 1, 2)), scaled.std(axis=(0, 1, 2))
        return cls(scale, tuple(map(float, mean)), tuple(map(float, std)))

    def as_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, figures: dict[str, Any]) -> "Preprocessing":
        return cls(figures["scale"], tuple(figures["mean"]), tuple(figures["std"]))


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images for training and for testing.

    Attributes:
        name: Its name in `load_source`.
        train_images, test_images: Raw pixels, uint8, (examples, height, width, channels).
        train_labels, test_labels: Integers, (examples,), the places in `class_names`.
        class_names: One for each class.
        preprocessing: How a network is to see the pixels.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels) or len(images) == 0:
                raise ValueError(
                    f"Expected {part}_images as uint8 (examples, height, width, channels) with one label each. "
                    f"Received: {images.dtype} images of shape {images.shape} and {len(labels)} labels"
                )
            if labels.min() < 0 or labels.max() >= self.classes:
                raise ValueError(
                    f"Expected {part}_labels from 0 to {self.classes - 1}, one for each class name. "
                    f"Received: {part}_labels from {labels.min()} to {labels.max()}"
                )

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.train_images.shape[1:]

    @property
    def classes(self) -> int:
        return len(self.class_names)


def digits() -> Source:
    """Scikit-learn's handwritten digits: 1797 grey images of 8x8, values 0 to 16, a fifth of each class for testing."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype("uint8")[..., None], bunch.target.astype("int64")
    test = _stratified(labels, fraction=0.2, seed=0)
    return Source(
        name="digits",
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple(map(str, bunch.target_names)),
        preprocessing=Preprocessing.fitted(images[~test], scale=1 / 16),
    )


def _stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A boolean array that chooses the same fraction of each class."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        chosen[places[: round(fraction * len(places))]] = True
    return chosen


SOURCES: dict[str, Callable[[], Source]] = {"digits": digits}


def load_source(name: str | Source) -> Source:
    """A data source by its name; a `Source` comes back as it is.

    Args:
        name: "digits", or a `Source`.

    Returns:
        The source, with its images in memory.

    Raises:
        ValueError: If there is no such source.

    Example:

    >>> import zoo
    >>> zoo.load_source("digits").input_shape
    (8, 8, 1)
    """
    if isinstance(name, Source):
        return name
    if name not in SOURCES:
        raise unknown("data source", name, SOURCES)
    return SOURCES[name]()


class Batches(keras.utils.PyDataset):
    """Preprocessed images and one-hot labels, batch by batch.

    `fit` is to be called with `shuffle=False`, since Keras would shuffle whole batches with Python's global generator:
    with a seed the data set shuffles its examples itself, anew in each epoch. The epoch is set from outside, before it
    begins: Keras starts to fetch batches before it calls this class's `on_epoch_begin`, and calls `on_epoch_end` once
    more than there are epochs.

    Args:
        images: Raw pixels, uint8, (examples, height, width, channels).
        labels: Integers, (examples,).
        classes: Number of classes.
        preprocessing: How the network is to see the pixels.
        batch_size: Examples in each batch but the last, which may have fewer.
        seed: For the order and the augmentation. None: in order, and as they are.
        pad: Pixels by which an image is padded on each side before a random crop of its size.
        pad_mode: "constant" (zeros) or "reflect".
        flip: Whether images are mirrored, left to right, at random.

    Example:

    >>> import zoo
    >>> source = zoo.load_source("digits")
    >>> batches = zoo.Batches(source.test_images, source.test_labels, 10, source.preprocessing, 128)
    >>> images, labels = batches[0]
    >>> images.shape, labels.shape
    ((128, 8, 8, 1), (128, 10))
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
        pad: int = 0,
        pad_mode: str = "constant",
        flip: bool = False,
    ) -> None:
        # With one worker Keras wraps the data set in a tf.data pipeline that tunes itself, and epochs end late.
        super().__init__(workers=2, use_multiprocessing=False)
        self.images, self.labels, self.preprocessing = images, labels, preprocessing
        self.one_hot = np.eye(classes, dtype="float32")
        self.batch_size, self.seed = batch_size, seed
        self.pad, self.pad_mode, self.flip = pad, pad_mode, flip
        self.epoch = 0
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.batch(self.epoch, index)

    def batch(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch at a position of the run; a function of the seed and these two integers alone."""
        chosen = self._order(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        images = self.images[chosen]
        if self.seed is not None:
            rng = np.random.default_rng((self.seed, epoch, 1, index))
            images = augment(images, rng, pad=self.pad, pad_mode=self.pad_mode, flip=self.flip)
        images = self.preprocessing(images)
        if keras.config.image_data_format() == "channels_first":
            images = images.transpose(0, 3, 1, 2)
        return images, self.one_hot[self.labels[chosen]]

    def _shuffled(self, epoch: int) -> np.ndarray:
        if self.seed is None:
            return np.arange(len(self.images))
        return np.random.default_rng((self.seed, epoch, 0)).permutation(len(self.images))


def augment(
    images: np.ndarray, rng: np.random.Generator, *, pad: int = 0, pad_mode: str = "constant", flip: bool = False
) -> np.ndarray:
    """Random crops of the padded images, and random mirroring, of a whole batch at once."""
    count, height, width, _ = images.shape
    if pad:
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=pad_mode)  # type: ignore[call-overload]
        top, left = rng.integers(0, 2 * pad + 1, (2, count, 1))
        rows, columns = top + np.arange(height), left + np.arange(width)
        images = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if flip:
        mirrored = rng.random((count, 1, 1, 1)) < 0.5
        images = np.where(mirrored, images[:, :, ::-1], images)
    return images
