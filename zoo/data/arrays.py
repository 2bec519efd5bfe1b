"""Makes data sources of arrays: NumPy's .npz files in Keras's layout, and the data sets of Keras itself.

inputs    integers from 0 to 255, (n, height, width) or (n, height, width, 1 or 3): images
          other numbers (n, ...): signals or features, whose last axis is that of the channels
targets   integers (n,) or (n, 1): classification
          floats (n,) or (n, numbers): regression
          integers (n, ...) of the shape of the inputs without their channels: segmentation, 255 for ignored ones
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.segmentation import IGNORE
from .layout import choose_at_random, choose_stratified
from .options import Options
from .source import Preprocessing, Source

_PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


def from_npz(path: Path, options: Options) -> Source:
    """Reads a source from the arrays x_train, y_train, x_test and y_test, and from others that `from_arrays` knows.

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
    """Makes a source of arrays with Keras's names. Without x_test it splits off a part, the same share of each class.

    Args:
        name: Its name, for errors.
        arrays: x_train and y_train, and perhaps x_test, y_test, x_val, y_val, class_names and target_names.
        options: How to read them; the task overrides the one that the targets suggest.
        class_names: Default: class_names of the arrays, or numbers.

    Raises:
        ValueError: If an array is missing or wrong.
    """
    options = options or Options()
    if not {"x_train", "y_train"} <= set(arrays):
        raise ValueError(
            f"Expected x_train, y_train, x_test and y_test in {name!r}. Received: {', '.join(arrays) or 'nothing'}"
        )
    images = _are_images(arrays["x_train"])
    found: dict[str, Any] = {}
    for suffix, part in _PARTS.items():
        if f"x_{suffix}" in arrays or f"y_{suffix}" in arrays:
            found[f"{part}_inputs"] = _inputs(name, f"x_{suffix}", arrays, images)
    task = options.task or infer_task(found["train_inputs"], arrays["y_train"])
    for suffix, part in _PARTS.items():
        if f"{part}_inputs" in found and f"x_{suffix}" in arrays:
            found[f"{part}_targets"] = _targets(name, f"y_{suffix}", arrays, found[f"{part}_inputs"], task)
    about = _names(name, arrays, found["train_targets"], task, class_names)
    if task != "regression":
        _check_labels(name, found, about["class_names"], task)
    if "test_inputs" not in found:
        labels, count = found["train_targets"], len(found["train_inputs"])
        choose = partial(choose_at_random, count)
        if task == "classification":
            choose = partial(choose_stratified, labels, class_names=about["class_names"])
        parts = options.split(np.arange(count), choose)
        for kind in ("inputs", "targets"):
            whole = found[f"train_{kind}"]
            found |= {f"{part}_{kind}": whole[places] for part, places in parts.items()}
    return Source(name=name, task=task, preprocessing=_preprocessing(found["train_inputs"]), **about, **found)


def infer_task(inputs: np.ndarray, targets: np.ndarray) -> str:
    """The task that the type and the shape of the targets suggest."""
    if targets.dtype.kind == "f":
        return "regression"
    masks = targets.ndim > 1 and targets.shape[1:] != (1,) and targets.shape == inputs.shape[:-1]
    return "segmentation" if masks else "classification"


def _are_images(inputs: np.ndarray) -> bool:
    shaped = inputs.ndim == 3 or (inputs.ndim == 4 and inputs.shape[-1] in (1, 3))
    return shaped and inputs.size > 0 and inputs.dtype.kind in "iu" and inputs.min() >= 0 and inputs.max() <= 255


def _inputs(name: str, key: str, arrays: Mapping[str, np.ndarray], images: bool) -> np.ndarray:
    if key not in arrays:
        raise ValueError(f"Expected {key} in {name!r}, which has its targets. Received: {', '.join(arrays)}")
    inputs = arrays[key]
    if inputs.dtype.kind not in "iuf" or inputs.ndim < 2 or 0 in inputs.shape:
        raise ValueError(
            f"Expected {key} of {name!r} as numbers, with the examples in the first of two axes or more. "
            f"Received: {key} of {inputs.dtype} and shape {inputs.shape}"
        )
    if images:
        if not _are_images(inputs):
            raise ValueError(
                f"Expected {key} of {name!r} as integers from 0 to 255, like x_train. "
                f"Received: {inputs.dtype} of shape {inputs.shape} from {inputs.min()} to {inputs.max()}"
            )
        inputs = inputs.astype("uint8", copy=False)
        return inputs[..., None] if inputs.ndim == 3 else inputs
    if inputs.dtype.kind != "f":
        return inputs
    with np.errstate(over="ignore"):
        inputs = inputs.astype("float32", copy=False)
    if not np.isfinite(inputs).all():
        (wrong,) = np.unique(np.argwhere(~np.isfinite(inputs))[:1, 0])
        raise ValueError(
            f"Expected {key} of {name!r} as finite numbers in the range of float32. Received: others in {key}[{wrong}]"
        )
    return inputs


def _targets(name: str, key: str, arrays: Mapping[str, np.ndarray], inputs: np.ndarray, task: str) -> np.ndarray:
    targets, count = arrays.get(key), len(inputs)
    shapes = {"classification": [(count,), (count, 1)], "segmentation": [inputs.shape[:-1]]}.get(task)
    kinds = "iuf" if task == "regression" else "iu"
    if (
        targets is None
        or targets.dtype.kind not in kinds
        or (targets.shape not in shapes if shapes else targets.ndim not in (1, 2) or len(targets) != count)
    ):
        wanted = {
            "classification": f"{count} integers, one for each example",
            "regression": f"numbers, one or more for each of {count} examples",
            "segmentation": f"integers of shape {inputs.shape[:-1]}",
        }[task]
        received = "nothing" if targets is None else f"{targets.dtype} of shape {targets.shape}"
        raise ValueError(f"Expected {key} of {name!r} as {wanted}. Received: {received}")
    if task == "classification":
        return targets.reshape(-1).astype("int64")
    if task == "regression":
        return targets.reshape(count, -1).astype("float32")
    if targets.min() < 0 or targets.max() > 255:
        raise ValueError(f"Expected {key} of {name!r} from 0 to 255. Received: from {targets.min()} to {targets.max()}")
    return targets.astype("uint8", copy=False)


def _names(
    name: str, arrays: Mapping[str, np.ndarray], targets: np.ndarray, task: str, class_names: Sequence[str] | None
) -> dict[str, Any]:
    """The names of the classes, or of the numbers that are predicted."""
    if task == "regression":
        numbers = targets.shape[1]
        default = ["target"] if numbers == 1 else [f"target{number}" for number in range(1, numbers + 1)]
        names = tuple(map(str, np.ravel(arrays.get("target_names", default))))
        if len(names) != numbers:
            raise ValueError(
                f"Expected {numbers} target_names in {name!r}, one for each column of y_train. Received: {names}"
            )
        return {"class_names": (), "target_names": names}
    if class_names is None and "class_names" in arrays:
        class_names = [str(class_name) for class_name in np.ravel(arrays["class_names"])]
    if class_names is None:
        known = targets[targets != IGNORE] if task == "segmentation" else targets
        class_names = [str(label) for label in range(int(known.max(initial=0)) + 1)]
    return {"class_names": tuple(class_names)}


def _preprocessing(inputs: np.ndarray) -> Preprocessing:
    """Standardises images and signals; integers (n, length) may be tokens, and stay as they are."""
    if inputs.dtype.kind in "iu" and inputs.ndim == 2:
        return Preprocessing.identity()
    return Preprocessing.fitted(inputs, scale=1 / 255 if inputs.dtype == np.uint8 else 1)


def _check_labels(name: str, found: Mapping[str, np.ndarray], class_names: Sequence[str], task: str) -> None:
    known = set(range(len(class_names)))
    seen = {key: set(np.unique(labels).tolist()) for key, labels in found.items() if key.endswith("_targets")}
    for key, values in seen.items():
        if strange := sorted(values - known - ({IGNORE} if task == "segmentation" else set())):
            raise ValueError(
                f"Expected {key} of {name!r} from 0 to {len(class_names) - 1}. "
                f"Received: {', '.join(map(str, strange[:5]))}"
            )
    if missing := sorted(known - seen["train_targets"]):
        raise ValueError(
            f"Expected training examples of every class in {name!r}. "
            f"Received: none of {', '.join(class_names[label] for label in missing[:5])}"
        )


# Files of arrays, by suffix.
ARRAY_FILES: dict[str, Callable[[Path, Options], Source]] = {".npz": from_npz}
