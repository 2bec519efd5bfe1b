"""Equal values whose channels come first in one array and last in another."""

import numpy as np


def find_layout(y: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """Returns values in the layout that is nearest to the expected values; None if no layout has their shape.

    The shape alone does not tell the layout if there are as many channels as rows and columns.
    """
    layouts = [y]
    if y.ndim > 2:
        layouts += [np.moveaxis(y, 1, -1), np.moveaxis(y, -1, 1)]
    fitting = [layout for layout in layouts if layout.shape == expected.shape]
    if len(fitting) < 2:
        return next(iter(fitting), None)
    return min(fitting, key=lambda layout: _measure_distance(layout, expected))


def _measure_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference between numbers; NaN has no part in the choice of a layout."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(one - other)
    return float(np.max(difference, initial=0, where=~np.isnan(difference)))
