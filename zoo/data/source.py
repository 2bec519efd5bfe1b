"""Data sources: raw 8-bit pixels with labels, and their preprocessing."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .layout import choose_stratified

_CHUNK = 2**24  # pixels that are processed at once


@dataclass(frozen=True)
class Preprocessing:
    """Turns raw pixels into the input of a network: (scale * pixels - mean) / std, for each channel.

    Example:

    >>> import numpy as np
    >>> from zoo import Preprocessing
    >>> Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,))(np.uint8([[[255]]]))
    array([[[2.]]], dtype=float32)
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: "np.ndarray | Rows") -> np.ndarray:
        pixels = np.asarray(pixels)
        # Whole rows, in place: over a last axis of three channels NumPy takes ten times as long.
        width, channels = pixels.shape[-2:]
        seen = pixels.reshape(-1, width * channels).astype("float32")
        seen *= np.float32(self.scale)
        seen -= np.resize(np.array(self.mean, "float32"), width * channels)
        seen /= np.resize(np.array(self.std, "float32"), width * channels)
        return seen.reshape(pixels.shape)

    @classmethod
    def fitted(cls, pixels: "np.ndarray | Rows", scale: float) -> "Preprocessing":
        """Fits the preprocessing that gives these 8-bit pixels mean 0 and standard deviation 1 in each channel.

        A channel of equal pixels is only centred.
        """
        channels = pixels.shape[-1]
        counts = np.zeros((channels, 256))
        for images in chunks(pixels):
            for channel in range(channels):
                counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
        values = np.arange(256) * scale
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ values
        std = np.sqrt(np.sum(shares * (values - mean[:, None]) ** 2, axis=1))
        return cls(scale, tuple(map(float, mean)), tuple(map(float, np.where(std > 0, std, 1))))

    def as_dict(self) -> dict[str, float | list[float]]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> "Preprocessing":
        return cls(figures["scale"], tuple(figures["mean"]), tuple(figures["std"]))


class Rows:
    """Some rows of an array on disk, which are only read when they are indexed.

    Indexing the first axis gives an array in memory, and so does `numpy.asarray`.
    """

    def __init__(self, whole: np.ndarray, indices: np.ndarray) -> None:
        self.whole, self.indices = whole, indices
        self.dtype, self.ndim = whole.dtype, whole.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.indices), *self.whole.shape[1:])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if first is ...:
            first, rest = slice(None), [..., *rest]
        return self.whole[(self.indices[first], *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def select_rows(images: "np.ndarray | Rows", indices: np.ndarray) -> np.ndarray:
    """Selects images: as a view if they are adjacent, as `Rows` if they are on disk, else as a copy."""
    if isinstance(images, Rows):
        return select_rows(images.whole, images.indices[indices])
    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return images[indices[0] : indices[0] + len(indices)]
    # Rows is an array in all that a data set needs.
    return Rows(images, indices) if isinstance(images, np.memmap) else images[indices]  # type: ignore[return-value]


def chunks(images: "np.ndarray | Rows") -> Iterator[np.ndarray]:
    """Yields the images a few at a time."""
    step = max(1, _CHUNK // int(np.prod(images.shape[1:])))
    return (images[start : start + step] for start in range(0, len(images), step))


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images for training and for testing.

    Attributes:
        name: Its name in `load_source`.
        train_inputs, test_inputs: Raw pixels, uint8, (examples, height, width, channels). Images on disk that are not
            adjacent are not a `numpy.ndarray`, but can be indexed like one; `numpy.asarray` reads them all.
        train_targets, test_targets: Integers, (examples,), the indices into `class_names`.
        class_names: One for each class.
        preprocessing: Turns the pixels into the input of a network.
        validation_inputs, validation_targets: Held out to compare recipes, if there are any; see `with_validation`.
        origin: Plain data with which `load_source` finds the same data again.
    """

    name: str
    train_inputs: np.ndarray
    train_targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    validation_inputs: np.ndarray | None = None
    validation_targets: np.ndarray | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        images = ", ".join(f"{part}_inputs={getattr(self, f'{part}_inputs').shape}" for part in self.parts)
        return f"Source({self.name!r}, {images}, classes={self.classes})"

    def __post_init__(self) -> None:
        for part in self.parts:
            images, labels = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels) or len(images) == 0:
                raise ValueError(
                    f"Expected {part}_inputs as uint8 (examples, height, width, channels) with one label each. "
                    f"Received: {images.dtype} images of shape {images.shape} and {len(labels)} labels"
                )
            if labels.min() < 0 or labels.max() >= self.classes:
                raise ValueError(
                    f"Expected {part}_targets from 0 to {self.classes - 1}, one for each class name. "
                    f"Received: {part}_targets from {labels.min()} to {labels.max()}"
                )
            if part == "train" and labels.min() == labels.max():
                raise ValueError(
                    f"Expected train_targets of two classes or more. "
                    f"Received: {self.name!r} with only images of {self.class_names[labels[0]]!r}"
                )
            if images.shape[1:] != self.input_shape:
                raise ValueError(
                    f"Expected {part}_inputs of the shape of train_inputs, {self.input_shape}. "
                    f"Received: {images.shape[1:]}"
                )

    @property
    def parts(self) -> tuple[str, ...]:
        """ "train", "test" and, where there is one, "validation"."""
        return ("train", "test") if self.validation_inputs is None else ("train", "validation", "test")

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.train_inputs.shape[1:]

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def with_validation(self, fraction: float, seed: int = 0) -> "Source":
        """Holds out the same fraction of each class of the training examples for validation.

        The test examples and the preprocessing stay the same. A source that has validation examples is returned as it
        is.

        Args:
            fraction: The fraction of the training examples, between 0 and 1.
            seed: Chooses the examples.

        Example:

        >>> import zoo
        >>> source = zoo.load_source("digits").with_validation(0.1)
        >>> [len(getattr(source, f"{part}_inputs")) for part in source.parts]
        [1295, 143, 359]
        """
        if self.validation_inputs is not None:
            return self
        chosen = choose_stratified(self.train_targets, fraction, seed, self.class_names)
        kept, aside = np.flatnonzero(~chosen), np.flatnonzero(chosen)
        return replace(
            self,
            train_inputs=select_rows(self.train_inputs, kept),
            train_targets=self.train_targets[kept],
            validation_inputs=select_rows(self.train_inputs, aside),
            validation_targets=self.train_targets[aside],
            origin={**self.origin, "validation": {"fraction": fraction, "seed": seed}},
        )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the files that were read, or of the arrays, in 32 hexadecimal digits."""
        if "content" in self.origin:
            return self.origin["content"]
        digest = hashlib.sha256(repr(self.class_names).encode())
        for part in self.parts:
            images, labels = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            digest.update(repr((part, images.shape)).encode())
            digest.update(np.asarray(labels, "int64").tobytes())
            for chunk in chunks(images):
                digest.update(chunk.tobytes())
        return digest.hexdigest()[:32]

    def as_dict(self) -> dict[str, Any]:
        """Name, origin, classes and preprocessing as plain data, from which `load_source` finds the same data again."""
        return {
            "name": self.name,
            **{name: value for name, value in self.origin.items() if name != "content"},
            "fingerprint": self.fingerprint,
            "examples": {part: len(getattr(self, f"{part}_targets")) for part in self.parts},
            "class_names": list(self.class_names),
            "preprocessing": self.preprocessing.as_dict(),
        }
