"""The statistics by which a network for tables scales its columns; see `preparation`."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from .preparation import SCALING, heights

if TYPE_CHECKING:
    import keras


def adapt(model: "keras.Model", rows: np.ndarray) -> None:
    """Sets the statistics by which a network for tables scales its columns of numbers to those of the training data.

    They are variables of the network, so its files hold them.

    Args:
        model: A network for tables, built with `scaling`.
        rows: Array (rows, features), as the network takes them. Missing values, NaN, do not count.

    Raises:
        ValueError: If the network scales no columns, or the rows are not such an array.

    Example:

    >>> import numpy as np
    >>> import zoo
    >>> rows = np.random.default_rng(0).normal(5, 2, (100, 3))
    >>> model = zoo.build("tabular_resnet", input_shape=(3,), scaling="standard")
    >>> zoo.adapt(model, rows)
    >>> np.allclose(model.get_layer("scaling").mean, rows.mean(axis=0))
    True
    """
    layer = next((layer for layer in model.layers if layer.name == SCALING), None)
    if layer is None:
        raise ValueError(
            f'Expected a network built with scaling="standard" or "quantile". Received: model={model.name!r}'
        )
    try:
        data = np.asarray(rows, "float64")
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected rows of numbers, with categories as indices from 0. Received: {error}") from error
    features = model.input_shape[-1]
    if data.ndim != 2 or not len(data) or data.shape[1] != features:
        raise ValueError(f"Expected rows to be an array (rows, {features}). Received: an array of shape {data.shape}")
    numbers = data[:, : layer.adapt_mean.shape[0]]
    if np.isinf(numbers).any():
        raise ValueError("Expected rows of finite numbers, or NaN where one is missing. Received: infinity")
    if len(layer.adapt_mean.shape) == 1:
        _set_statistics(layer, *_moments(numbers))
    else:
        knots = np.array([_normal_quantiles(column[~np.isnan(column)]) for column in numbers.T], "float32")
        _set_statistics(layer, knots[:, :-1], np.diff(knots) ** 2)
    # Compiled functions hold the statistics as constants.
    model.train_function = model.test_function = model.predict_function = None


def _set_statistics(layer: "keras.layers.Normalization", mean: np.ndarray, variance: np.ndarray) -> None:
    layer.adapt_mean.assign(mean)
    layer.adapt_variance.assign(variance)
    layer.finalize_state()


def _moments(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each column; 0 and 1 for a column without values, and a variance of 1 for a constant one."""
    columns = [column[~np.isnan(column)] for column in numbers.T]
    mean = np.array([column.mean() if len(column) else 0.0 for column in columns])
    variance = np.array([column.var() if len(column) else 1.0 for column in columns])
    return mean, np.where(variance == 0, 1.0, variance)


def _normal_quantiles(column: np.ndarray) -> Sequence[float] | np.ndarray:
    """The values of a column that become the heights, or the heights themselves if it has no values.

    Equal values share the mean of their ranks. Beyond the smallest and the largest value, the function is extrapolated
    linearly.
    """
    values, counts = np.unique(column, return_counts=True)
    if not len(values):
        return heights()
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
    slopes = np.diff(values) / np.diff(ranks) if len(values) > 1 else np.ones(1)
    ends = values[0] - slopes[0] * ranks[0], values[-1] + slopes[-1] * (1 - ranks[-1])
    levels = [NormalDist().cdf(height) for height in heights()]
    return np.interp(levels, [0, *ranks, 1], [ends[0], *values, ends[1]])
