"""What a data source is: raw 8-bit pixels with labels, and how a network is to see them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


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
