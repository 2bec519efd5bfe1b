"""Data sources: raw inputs with targets, and their preprocessing."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from export.images import ImageReader

from ..tasks import Task, task_of
from .rows import Rows, chunks, select_rows

if TYPE_CHECKING:
    from .streaming.photos import Photos


@dataclass(frozen=True)
class Preprocessing:
    """Turns raw pixels or signals into the input of a network: (scale * x - mean) / std, for each channel.

    The channels are the last axis, and those of an array (examples, features) are its features. `reverse_channels`
    reverses them first, which makes BGR of RGB; `mean` and `std` are then those of BGR.

    Example:

    >>> import numpy as np
    >>> from zoo import Preprocessing
    >>> Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,))(np.uint8([[[255]]]))
    array([[[2.]]], dtype=float32)
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reverse_channels: bool = False

    def __call__(self, pixels: "np.ndarray | Rows | Photos") -> np.ndarray:
        pixels = np.asarray(pixels)
        if self.reverse_channels:
            pixels = pixels[..., ::-1]
        # Whole rows, in place: over a last axis of three channels NumPy takes ten times as long.
        width, channels = pixels.shape[-2:] if pixels.ndim > 2 else (1, pixels.shape[-1])
        seen = pixels.reshape(-1, width * channels).astype("float32")
        seen *= np.float32(self.scale)
        seen -= np.resize(np.array(self.mean, "float32"), width * channels)
        seen /= np.resize(np.array(self.std, "float32"), width * channels)
        return seen.reshape(pixels.shape)

    @classmethod
    def fitted(cls, pixels: "np.ndarray | Rows | Photos", scale: float) -> "Preprocessing":
        """Fits the preprocessing that gives these inputs mean 0 and standard deviation 1 in each channel.

        A channel of equal values is only centred.

        Raises:
            ValueError: If a value is NaN or infinite.
        """
        mean, std = _moments_of_bytes(pixels, scale) if pixels.dtype == np.uint8 else _moments(pixels, scale)
        return cls(scale, tuple(map(float, mean)), tuple(map(float, np.where(std > 0, std, 1))))

    @classmethod
    def identity(cls) -> "Preprocessing":
        """The preprocessing of inputs that a network takes as they are, such as the rows of a table."""
        return cls(1.0, (0.0,), (1.0,))

    def as_dict(self) -> dict[str, float | list[float]]:
        figures = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        if not self.reverse_channels:
            del figures["reverse_channels"]
        return figures

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> "Preprocessing":
        mean, std = tuple(figures["mean"]), tuple(figures["std"])
        return cls(figures["scale"], mean, std, figures.get("reverse_channels", False))


def _moments_of_bytes(pixels: "np.ndarray | Rows | Photos", scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, from counts of the 256 values."""
    channels = pixels.shape[-1]
    counts = np.zeros((channels, 256))
    for images in chunks(pixels):
        for channel in range(channels):
            counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
    values = np.arange(256) * scale
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    return mean, np.sqrt(np.sum(shares * (values - mean[:, None]) ** 2, axis=1))


def _moments(inputs: "np.ndarray | Rows | Photos", scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, from two passes over the inputs."""
    count, channels = inputs.size // inputs.shape[-1], inputs.shape[-1]

    def flat() -> Iterator[np.ndarray]:
        return (scale * chunk.reshape(-1, channels).astype("float64") for chunk in chunks(inputs))

    mean = sum(chunk.sum(axis=0) for chunk in flat()) / count
    if not np.isfinite(mean).all():
        raise ValueError("Expected inputs of finite numbers. Received: inputs with NaN or infinity")
    return mean, np.sqrt(sum(((chunk - mean) ** 2).sum(axis=0) for chunk in flat()) / count)


@dataclass(frozen=True, eq=False)
class Source:
    """Examples of inputs and targets, for training and for testing.

    Attributes:
        name: Its name in `load_source`.
        train_inputs, test_inputs: Raw numbers, whose first axis is the example: uint8 (examples, height, width,
            channels) of images; integers or floats (examples, ...) of other arrays; float32 (examples, columns) of
            tables, with NaN for missing numbers. Inputs on disk that are not adjacent, and images that
            stay encoded, are no `numpy.ndarray`, but can be indexed like one; `numpy.asarray` reads them all.
        train_targets, test_targets: In a classification integers (examples,), the indices into `class_names`. In a
            regression floats (examples, number of `target_names`). In a segmentation uint8 (examples, height, width),
            indices into `class_names`, and 255 for pixels that do not count.
        class_names: One for each class; empty for a regression.
        preprocessing: Turns the inputs into those of a network.
        validation_inputs, validation_targets: Held out to compare recipes, if there are any; see `with_validation`.
        origin: Plain data with which `load_source` finds the same data again.
        task: "classification", "regression" or "segmentation".
        target_names: For a regression, a name for each number that is predicted.
        table: For a table, a `zoo.data.tables.Columns`, which says which column is which input; otherwise None.
        image: For images, an `export.ImageReader`, which says how a file becomes an input; otherwise None.

    Raises:
        ValueError: If inputs or targets do not fit the task.

    Example:

    >>> import numpy as np
    >>> import zoo
    >>> x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    >>> y = x.sum(axis=1, keepdims=True)
    >>> scaling = zoo.Preprocessing.fitted(x[:15], scale=1)
    >>> zoo.Source("mine", x[:15], y[:15], x[15:], y[15:], (), scaling, task="regression", target_names=("sum",))
    Source('mine', train_inputs=(15, 3), test_inputs=(5, 3), targets=('sum',), task='regression')
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
    task: str = "classification"
    target_names: tuple[str, ...] = ()
    table: Any = None
    image: ImageReader | None = None

    def __repr__(self) -> str:
        inputs = ", ".join(f"{part}_inputs={getattr(self, f'{part}_inputs').shape}" for part in self.parts)
        about = f"targets={self.target_names}" if self.target_names else f"classes={self.classes}"
        task = "" if self.task == "classification" else f", task={self.task!r}"
        return f"Source({self.name!r}, {inputs}, {about}{task})"

    def __post_init__(self) -> None:
        for part in self.parts:
            inputs, targets = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            if inputs.dtype.kind not in "uif" or inputs.ndim < 2 or len(inputs) != len(targets) or 0 in inputs.shape:
                raise ValueError(
                    f"Expected {part}_inputs as numbers (examples, ...), of two axes or more, with one target each. "
                    f"Received: {inputs.dtype} of shape {inputs.shape} and {len(targets)} targets"
                )
            if inputs.shape[1:] != self.input_shape:
                raise ValueError(
                    f"Expected {part}_inputs of the shape of train_inputs, {self.input_shape}. "
                    f"Received: {inputs.shape[1:]}"
                )
        self._task.check(self)
        if self.image is not None and (*(self.image.size or ()), self.image.channels) != self.input_shape:
            raise ValueError(
                f"Expected image to be a reader that gives inputs of shape {self.input_shape}. Received: {self.image!r}"
            )

    @property
    def _task(self) -> Task:
        return task_of(self)

    @property
    def parts(self) -> tuple[str, ...]:
        """ "train", "test" and, where there is one, "validation"."""
        return ("train", "test") if self.validation_inputs is None else ("train", "validation", "test")

    @property
    def counts(self) -> dict[str, int]:
        """The number of examples of each part."""
        return {part: len(getattr(self, f"{part}_targets")) for part in self.parts}

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.train_inputs.shape[1:]

    @property
    def classes(self) -> int:
        """The number of classes; 0 for a regression."""
        return len(self.class_names)

    @property
    def outputs(self) -> int:
        """The number of a network's outputs: of classes, or of numbers that are predicted."""
        return self._task.outputs(self)

    def with_validation(self, fraction: float, seed: int = 0) -> "Source":
        """Holds out a fraction of the training examples for validation, the same of each class in a classification.

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
        chosen = self._task.choose(self, fraction, seed)
        kept, aside = np.flatnonzero(~chosen), np.flatnonzero(chosen)
        return replace(
            self,
            train_inputs=select_rows(self.train_inputs, kept),
            train_targets=select_rows(self.train_targets, kept),
            validation_inputs=select_rows(self.train_inputs, aside),
            validation_targets=select_rows(self.train_targets, aside),
            origin={**self.origin, "validation": {"fraction": fraction, "seed": seed}},
        )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the files that were read, or of the arrays, in 32 hexadecimal digits."""
        if "content" in self.origin:
            return self.origin["content"]
        digest = hashlib.sha256(repr(self.class_names).encode())
        if self.task != "classification":
            digest.update(repr((self.task, self.target_names)).encode())
        for part in self.parts:
            inputs, targets = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            digest.update(repr((part, inputs.shape)).encode())
            if inputs.dtype != np.uint8:
                digest.update(inputs.dtype.name.encode())
            for chunk in chunks(targets):
                digest.update(chunk.astype(self._task.dtype).tobytes())
            for chunk in chunks(inputs):
                digest.update(chunk.tobytes())
        return digest.hexdigest()[:32]

    def as_dict(self) -> dict[str, Any]:
        """Name, origin, type, task, classes and preprocessing as plain data.

        `load_source` finds the same data again by it.
        """
        about = {"target_names": list(self.target_names)} if self.target_names else {}
        about |= {name: kept.to_dict() for name in ("table", "image") if (kept := getattr(self, name)) is not None}
        return {
            "name": self.name,
            **{name: value for name, value in self.origin.items() if name != "content"},
            "fingerprint": self.fingerprint,
            "examples": self.counts,
            "dtype": self.train_inputs.dtype.name,
            "task": self.task,
            "class_names": list(self.class_names),
            **about,
            "preprocessing": self.preprocessing.as_dict(),
        }
