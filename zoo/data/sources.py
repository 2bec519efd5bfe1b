"""The data sources by name."""

from collections.abc import Callable

import numpy as np

from .._names import unknown
from .source import Preprocessing, Source


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
