"""The channels of an output: its last axis. Every channel is held to its own scale."""

from collections.abc import Iterable

import numpy as np


def split_channels(values: np.ndarray, channels: int) -> np.ndarray:
    """Returns values as rows of channels, or as one column if there is one channel."""
    return np.reshape(values, (-1, channels))


def count_channels(arrays: Iterable[np.ndarray]) -> int:
    """Counts the channels of arrays of one output: the size of their last axis, or 1 if the sizes differ."""
    sizes = {y.shape[-1] if y.ndim > 1 else 1 for y in arrays}
    return max(sizes.pop(), 1) if len(sizes) == 1 else 1


def measure_ranges(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the largest minus the smallest finite value of each channel, over arrays of one output."""
    arrays = [np.asarray(y) for y in arrays]
    channels = count_channels(arrays)
    rows = np.concatenate([split_channels(y, channels) for y in arrays]).astype("float64")
    finite = np.isfinite(rows)
    largest = np.max(rows, axis=0, where=finite, initial=-np.inf)
    smallest = np.min(rows, axis=0, where=finite, initial=np.inf)
    return np.where(finite.any(axis=0), largest - smallest, 0.0)


def largest_value(arrays: Iterable[np.ndarray]) -> float:
    """Returns the largest finite absolute value of arrays."""
    values = (np.abs(y.astype("float64")) for y in arrays)
    return max(float(np.max(y, where=np.isfinite(y), initial=0.0)) for y in values)


def spread_over_channels(floor: np.ndarray | float, channels: int) -> np.ndarray:
    """Returns a floor for each channel; a floor of other channels gives its largest value to all of them."""
    values = np.ravel(np.asarray(floor, "float64"))
    return np.broadcast_to(values if values.size in (1, channels) else values.max(), channels)
