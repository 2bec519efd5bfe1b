"""Makes data sources of arrays: NumPy's .npz files in Keras's layout, and the data sets of Keras itself."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .layout import choose_stratified
from .options import Options
from .source import Preprocessing, Source

_PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


def from_npz(path: Path, options: Options) -> Source:
    """Reads a source from x_train, y_train, x_test and y_test, and from x_val, y_val and class_names if they exist.

    Raises:
        ValueError: If the file is damaged, or an array is missing or wrong.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = "pickled objects, which may run any code" if "allow_pickle" in str(error) else error
        raise ValueError(f"Expected an .npz file of plain arrays. Received: {str(path)!r}: {reason}") from None
    return from_arrays(str(path), arrays, options)


def from_arrays(
    name: str,
    arrays: Mapping[str, np.ndarray],
    options: Options | None = None,
    *,
    class_names: Sequence[str] | None = None,
) -> Source:
    """Makes a source of arrays with Keras's names; without x_test it splits off a part of each class."""
    options = options or Options()
    if not {"x_train", "y_train"} <= set(arrays):
        raise ValueError(
            f"Expected x_train, y_train, x_test and y_test in {name!r}. Received: {', '.join(arrays) or 'nothing'}"
        )
    found: dict[str, Any] = {}
    for suffix, part in _PARTS.items():
        if f"x_{suffix}" in arrays or f"y_{suffix}" in arrays:
            found[f"{part}_inputs"] = _images(name, f"x_{suffix}", arrays)
            found[f"{part}_targets"] = _labels(name, f"y_{suffix}", arrays, len(found[f"{part}_inputs"]))
    if class_names is None and "class_names" in arrays:
        class_names = [str(class_name) for class_name in np.ravel(arrays["class_names"])]
    if class_names is None:
        class_names = [str(label) for label in range(int(found["train_targets"].max()) + 1)]
    _check_labels(name, found, class_names)
    if "test_inputs" not in found:
        test = choose_stratified(found["train_targets"], options.test_fraction, options.split_seed, class_names)
        for kind in ("inputs", "targets"):
            whole = found[f"train_{kind}"]
            found[f"train_{kind}"], found[f"test_{kind}"] = whole[~test], whole[test]
    return Source(
        name=name,
        class_names=tuple(class_names),
        preprocessing=Preprocessing.fitted(found["train_inputs"], scale=1 / 255),
        **found,
    )


def _images(name: str, key: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if key not in arrays:
        raise ValueError(f"Expected {key} in {name!r}, which has its labels. Received: {', '.join(arrays)}")
    images = arrays[key]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"Expected {key} of {name!r} as (examples, height, width) or (examples, height, width, 1 or 3). "
            f"Received: {key} of shape {arrays[key].shape}"
        )
    if images.dtype != np.uint8:
        if images.dtype.kind not in "iu" or images.min() < 0 or images.max() > 255:
            raise ValueError(
                f"Expected {key} of {name!r} as integers from 0 to 255. "
                f"Received: {images.dtype} from {images.min()} to {images.max()}"
            )
        images = images.astype("uint8")
    return images


def _labels(name: str, key: str, arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    labels = arrays.get(key)
    if labels is None or labels.dtype.kind not in "iu" or labels.shape not in ((count,), (count, 1)):
        received = "nothing" if labels is None else f"{labels.dtype} of shape {labels.shape}"
        raise ValueError(f"Expected {key} of {name!r} as {count} integers, one for each image. Received: {received}")
    return labels.reshape(-1).astype("int64")


def _check_labels(name: str, found: Mapping[str, np.ndarray], class_names: Sequence[str]) -> None:
    known = set(range(len(class_names)))
    for key, labels in found.items():
        if key.endswith("_targets") and (strange := sorted(set(np.unique(labels).tolist()) - known)):
            raise ValueError(
                f"Expected {key} of {name!r} from 0 to {len(class_names) - 1}. "
                f"Received: {', '.join(map(str, strange[:5]))}"
            )
    if missing := sorted(known - set(found["train_targets"].tolist())):
        raise ValueError(
            f"Expected training images of every class in {name!r}. "
            f"Received: none of {', '.join(class_names[label] for label in missing[:5])}"
        )
