"""What stands between the caller's raw data and the network: y = (x * scale - mean) / std.

Pure data. The exported graph holds the operations, `artifact.json` holds the numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

Numbers = float | tuple[float, ...]


@dataclass(frozen=True)
class Preprocessing:
    """Turns raw input of a given type into what the network was trained on.

    Args:
        dtype: Type of the raw data, an integer or floating type of NumPy by name.
        scale: Factor, applied first.
        mean: Subtracted after scaling: a number, or one per channel.
        std: Divided by last: a number, or one per channel. Never zero.
        channel_axis: The axis along which `mean` and `std` differ.

    Raises:
        ValueError: If a value is not usable.

    Example:
        >>> Preprocessing("uint8", scale=1 / 255).apply(np.array([[0, 255]], "uint8"))
        array([[0., 1.]], dtype=float32)
    """

    dtype: str = "uint8"
    scale: float = 1.0
    mean: Numbers = 0.0
    std: Numbers = 1.0
    channel_axis: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", _numeric_dtype(self.dtype))
        for name in ("scale", "mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if not isinstance(self.scale, float) or self.scale == 0:
            raise ValueError(f"Expected scale to be one number other than zero. Received: scale={self.scale!r}")
        if not np.all(self.std):
            raise ValueError(f"Expected std to be other than zero. Received: std={self.std!r}")

    @property
    def is_identity(self) -> bool:
        """Whether values pass unchanged."""
        return self.scale == 1 and not np.any(self.mean) and bool(np.all(np.equal(self.std, 1)))

    def apply(self, x: Any, cast: Callable[[Any, str], Any] = lambda x, dtype: np.asarray(x).astype(dtype)) -> Any:
        """Computes in float32 what the exported graph computes.

        Args:
            x: Raw data, batch first.
            cast: Changes the type of an array; with that of another library the same operations run on its tensors.

        Returns:
            The network's input.
        """
        x = cast(x, "float32")
        if self.scale != 1:
            x = x * np.float32(self.scale)
        if np.any(self.mean):
            x = x - self._along_channels(self.mean, len(x.shape))
        if not np.all(np.equal(self.std, 1)):
            x = x / self._along_channels(self.std, len(x.shape))
        return x

    def invert(self, y: np.ndarray) -> np.ndarray:
        """Computes the raw data that `apply` turns into a given network input."""
        rank = y.ndim
        return (y * self._along_channels(self.std, rank) + self._along_channels(self.mean, rank)) / self.scale

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Makes one from `to_dict`'s result; unknown names are an error."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"Expected preprocessing to name only {known}. Received: {unknown}")
        return cls(**values)

    def _along_channels(self, value: Numbers, rank: int) -> np.ndarray:
        array = np.asarray(value, "float32")
        if array.ndim == 0:
            return array
        shape = [1] * rank
        shape[self.channel_axis] = -1
        return array.reshape(shape)


def _numeric_dtype(dtype: DTypeLike) -> str:
    try:
        kind: str = np.dtype(dtype).kind
    except TypeError:
        kind = ""
    if kind not in tuple("iuf"):
        raise ValueError(f"Expected dtype to be an integer or floating type of NumPy. Received: dtype={dtype!r}")
    return np.dtype(dtype).name


def _numbers(name: str, value: ArrayLike) -> Numbers:
    array = np.asarray(value)
    if array.ndim > 1 or array.size == 0 or array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise ValueError(f"Expected {name} to be a finite number or a list of them. Received: {name}={value!r}")
    return tuple(float(v) for v in array) if array.ndim else float(array)
