"""Data sources of every task that need no download, made from the data sets that come with scikit-learn.

digits            images in ten classes
digits_signals    the same, the 64 pixels of an image in reading order as 64 steps of a signal
digits_masks      images with several of these digits on a noisy background, and the class of each pixel
wine, breast_cancer    tables with classes
diabetes          a table with a number to predict
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from export.table_files import Table

from .layout import choose_stratified
from .options import Options
from .source import Preprocessing, Source
from .tables import from_tables

_SIZE, _PLACES, _CANVASES = 32, 2, {"train": 400, "test": 100}
_INK, _NOISE = 4, 6  # of 16: where a digit begins, and the brightest noise


def digits() -> Source:
    """Scikit-learn's handwritten digits: 1797 grey images of 8x8, values 0 to 16, a fifth of each class for testing."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype("uint8")[..., None], bunch.target.astype("int64")
    names = tuple(map(str, bunch.target_names))
    test = choose_stratified(labels, fraction=0.2, seed=0, class_names=names)
    return Source(
        name="digits",
        train_inputs=images[~test],
        train_targets=labels[~test],
        test_inputs=images[test],
        test_targets=labels[test],
        class_names=names,
        preprocessing=Preprocessing.fitted(images[~test], scale=1 / 16),
    )


def digits_signals() -> Source:
    """The digits, the pixels of each in reading order: signals of 64 steps and one channel, from 0 to 1."""
    source = digits()
    signals: dict[str, Any] = {
        f"{part}_inputs": (getattr(source, f"{part}_inputs").reshape(-1, 64, 1) / 16).astype("float32")
        for part in source.parts
    }
    preprocessing = Preprocessing.fitted(signals["train_inputs"], scale=1)
    return replace(source, name="digits_signals", preprocessing=preprocessing, **signals)


def digits_masks() -> Source:
    """Grey images of 32x32 with up to four digits on a noisy ground; the classes of the pixels are the ground and the
    ten digits. The digits for testing are none of those for training.
    """
    source = digits()
    arrays: dict[str, np.ndarray] = {}
    for seed, (part, count) in enumerate(_CANVASES.items()):
        inputs, targets = (getattr(source, f"{part}_{what}") for what in ("inputs", "targets"))
        arrays[f"{part}_inputs"], arrays[f"{part}_targets"] = _scatter(inputs[..., 0], targets, count, seed)
    return Source(
        name="digits_masks",
        task="segmentation",
        class_names=("ground", *source.class_names),
        preprocessing=Preprocessing.fitted(arrays["train_inputs"], scale=1 / 16),
        **arrays,  # type: ignore[arg-type]
    )


def _scatter(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Puts a random digit somewhere into three of four quarters of each image, on average."""
    rng = np.random.default_rng(seed)
    canvases = rng.integers(0, _NOISE + 1, (count, _SIZE, _SIZE), dtype="uint8")
    masks = np.zeros_like(canvases)
    side, quarter = images.shape[1], _SIZE // _PLACES
    for canvas, mask in zip(canvases, masks, strict=True):
        for place in np.flatnonzero(rng.random(_PLACES**2) < 0.75):
            digit = rng.integers(len(images))
            top, left = rng.integers(0, quarter - side + 1, 2) + quarter * np.array(divmod(place, _PLACES))
            window = slice(top, top + side), slice(left, left + side)
            canvas[window] = np.maximum(canvas[window], images[digit])
            mask[window] = np.where(images[digit] >= _INK, labels[digit] + 1, 0)
    return canvases[..., None], masks


def _table(name: str, target: str, **kinds: str) -> Callable[[], Source]:
    """Makes the loader of a table of scikit-learn."""

    def load() -> Source:
        from sklearn import datasets

        # The others have no such argument, and are not scaled.
        bunch = getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
        classes = getattr(bunch, "target_names", None)
        columns = dict(zip(map(str, bunch.feature_names), bunch.data.T.tolist(), strict=True))
        columns[target] = (bunch.target if classes is None else classes[bunch.target]).tolist()
        table = Table(name, columns, range(1, len(bunch.target) + 1))
        return from_tables(name, {"": table}, Options(target=target, columns=kinds))

    return load


diabetes = _table("diabetes", "progression", sex="category")
wine = _table("wine", "class")
breast_cancer = _table("breast_cancer", "diagnosis")
