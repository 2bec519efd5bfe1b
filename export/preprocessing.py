"""The preprocessing of raw data for a network: y = (x * scale - mean) / std, of x with its channels reversed if asked.

The exported graph holds the operations, and `artifact.json` holds the numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

Numbers = float | tuple[float, ...]


@dataclass(frozen=True)
class Preprocessing:
    """Turns raw data of a given type into the input that a network was trained on.

    Args:
        dtype: The type of the raw data: the name of an integer or floating type of NumPy.
        scale: The factor, which is applied first.
        mean: The number, or one per channel, that is subtracted after scaling.
        std: The number, or one per channel, that divides last. It may not be zero.
        channel_axis: The axis along which `mean` and `std` differ.
        reverse_channels: Whether to reverse the channels first, which makes BGR of RGB; `mean` and `std` are then those
            of BGR.

    Raises:
        ValueError: If a value is invalid.

    Example:
        >>> Preprocessing("uint8", scale=1 / 255).apply(np.array([[0, 255]], "uint8"))
        array([[0., 1.]], dtype=float32)
    """

    dtype: str = "uint8"
    scale: float = 1.0
    mean: Numbers = 0.0
    std: Numbers = 1.0
    channel_axis: int = -1
    reverse_channels: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", _numeric_dtype_name(self.dtype))
        for name in ("scale", "mean", "std"):
            object.__setattr__(self, name, _to_numbers(name, getattr(self, name)))
        if not isinstance(self.scale, float) or self.scale == 0:
            raise ValueError(f"Expected scale to be one number other than zero. Received: scale={self.scale!r}")
        if not np.all(self.std):
            raise ValueError(f"Expected std to be other than zero. Received: std={self.std!r}")
        if not isinstance(self.reverse_channels, bool):
            raise ValueError(
                f"Expected reverse_channels to be True or False. Received: reverse_channels={self.reverse_channels!r}"
            )

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are."""
        plain = self.scale == 1 and not self.reverse_channels
        return plain and not np.any(self.mean) and bool(np.all(np.equal(self.std, 1)))

    def apply(self, x: Any, cast: Callable[[Any, str], Any] = lambda x, dtype: np.asarray(x).astype(dtype)) -> Any:
        """Computes the input of the network in float32, as the exported graph does.

        Args:
            x: Raw data; its first axis is the batch.
            cast: A function that changes the type of an array; with another library's function, `x` may be its tensor.

        Returns:
            The network's input.
        """
        x = self._order(cast(x, "float32"))
        if self.scale != 1:
            x = x * np.float32(self.scale)
        if np.any(self.mean):
            x = x - self._along_channels(self.mean, len(x.shape))
        if not np.all(np.equal(self.std, 1)):
            x = x / self._along_channels(self.std, len(x.shape))
        return x

    def invert(self, y: np.ndarray) -> np.ndarray:
        """Computes the raw data from the input of the network."""
        rank = y.ndim
        x = (y * self._along_channels(self.std, rank) + self._along_channels(self.mean, rank)) / self.scale
        return self._order(x)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, ready for JSON; the order of the channels only if it changes."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if not self.reverse_channels:
            # Readers from before there was a choice know no such field.
            del values["reverse_channels"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Makes preprocessing from the result of `to_dict`; unknown names are an error."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"Expected preprocessing with the fields {known}. Received: {unknown}")
        return cls(**values)

    def _order(self, x: Any) -> Any:
        """Reverses the channels of an array or of another library's tensor if that is asked."""
        if not self.reverse_channels:
            return x
        index = [slice(None)] * len(x.shape)
        index[self.channel_axis] = slice(None, None, -1)
        return x[tuple(index)]

    def _along_channels(self, value: Numbers, rank: int) -> np.ndarray:
        array = np.asarray(value, "float32")
        if array.ndim == 0:
            return array
        shape = [1] * rank
        shape[self.channel_axis] = -1
        return array.reshape(shape)


def _numeric_dtype_name(dtype: DTypeLike) -> str:
    try:
        kind: str = np.dtype(dtype).kind
    except TypeError:
        kind = ""
    if kind not in tuple("iuf"):
        raise ValueError(f"Expected dtype to be an integer or floating type of NumPy. Received: dtype={dtype!r}")
    return np.dtype(dtype).name


def _to_numbers(name: str, value: ArrayLike) -> Numbers:
    array = np.asarray(value)
    if array.ndim > 1 or array.size == 0 or array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise ValueError(f"Expected {name} to be a finite number or a list of them. Received: {name}={value!r}")
    return tuple(float(v) for v in array) if array.ndim else float(array)
