"""Checks the structure of `artifact.json`: every field, its values, and which fields must fit together.

Every reader of a manifest relies on this. Older manifests may lack newer fields, and unknown fields are ignored.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from ..images import ImageReader
from ..preprocessing import Preprocessing

FORMATS = {"saved_model": "saved_model/saved_model.pb", "onnx": "model.onnx"}
# The name of an output to which an activation was added, and the values of "activation" and "layout".
PROBABILITIES = "probabilities"
Activation = Literal["softmax", "sigmoid"]
Layout = Literal["nhwc", "nchw"]
Task = Literal["classification", "regression", "segmentation"]
TASKS = (*get_args(Task), None)
ACTIVATIONS = (*get_args(Activation), None)
LAYOUTS = (*get_args(Layout), None)
_SHOWN = 80

# A check yields a sentence for each fault of a value; the text says where the value is.
Check = Callable[[Any, str], Iterator[str]]


def find_faults(manifest: Any) -> Iterator[str]:
    """Yields a sentence for each fault of a manifest."""
    found = list(_MANIFEST(manifest, ""))
    # Fields can only be compared with each other if each of them is valid.
    yield from found or _contradictions(manifest)


def _must(fits: Callable[[Any], bool], wanted: str) -> Check:
    def check(value: Any, at: str) -> Iterator[str]:
        if not fits(value):
            yield f"{at}={value!r:.{_SHOWN}}, not {wanted}"

    return check


def _list(of: Check, least: int = 1) -> Check:
    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, list) or len(value) < least:
            yield f"{at}={value!r:.{_SHOWN}}, not a list of {least} or more"
            return
        for i, item in enumerate(value):
            yield from of(item, f"{at}[{i}]")

    return check


def _by_name(of: Check) -> Check:
    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict) or not value:
            yield f"{at}={value!r:.{_SHOWN}}, not values by name"
            return
        for name, item in value.items():
            yield from of(item, f"{at}[{name!r:.{_SHOWN}}]")

    return check


def _fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at or 'contents'}={value!r:.{_SHOWN}}, not values by name"
            return
        for name, of in {**required, **(optional or {})}.items():
            field = f"{at}.{name}" if at else name
            if name in value:
                yield from of(value[name], field)
            elif name in required:
                yield f"no {field}"

    return check


def _or_none(of: Check) -> Check:
    def check(value: Any, at: str) -> Iterator[str]:
        if value is not None:
            yield from of(value, at)

    return check


def _one_of(values: Sequence[str | None]) -> Check:
    return _must(lambda value: any(value is v or (isinstance(v, str) and value == v) for v in values), f"of {values}")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_type(value: Any) -> bool:
    try:
        return isinstance(value, str) and np.dtype(value).kind in "biufc" and np.dtype(value).name == value
    except TypeError:
        return False


def _preprocessing(value: Any, at: str) -> Iterator[str]:
    try:
        if not _is_type(value["dtype"]) or not _is_whole(value["channel_axis"], -16):
            raise ValueError("a type of NumPy and a whole channel_axis")
        Preprocessing.from_dict(value)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        yield f"{at}={value!r:.{_SHOWN}}, not preprocessing ({error})"


def _image(value: Any, at: str) -> Iterator[str]:
    try:
        ImageReader.from_dict(value)
    except (ValueError, TypeError) as error:
        yield f"{at}={value!r:.{_SHOWN}}, not a reader of images ({error})"


_TEXT = _must(lambda value: isinstance(value, str), "text")
_NAME = _must(lambda value: isinstance(value, str) and value != "", "a name")
_COUNT = _must(lambda value: _is_whole(value, 1), "a whole number of at least 1")
_HASH = _must(lambda value: isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{64}", value)), "a hash")
_SIZE = _must(lambda value: value is None or _is_whole(value, 0), "a size or null")
_TYPE = _must(_is_type, "a type of NumPy")


def _tensors(least_rank: int) -> Check:
    return _list(_fields({"name": _NAME, "shape": _list(_SIZE, least_rank), "dtype": _TYPE}))


# A column of a table that is an input, and the values of a category in the order of their indices.
_COLUMN = _fields({"name": _NAME, "kind": _one_of(("number", "date", "category")), "values": _list(_TEXT, 0)})
_MANIFEST = _fields(
    {
        "format": _COUNT,
        "name": _TEXT,
        "labels": _or_none(_list(_TEXT)),
        "formats": _list(_one_of(tuple(FORMATS))),
        "inputs": _tensors(1),
        "outputs": _tensors(0),
        "preprocessing": _or_none(_preprocessing),
        "activation": _one_of(ACTIVATIONS),
        "files": _by_name(_HASH),
        "sha256": _HASH,
    },
    {
        "layout": _one_of(LAYOUTS),
        "task": _one_of(TASKS),
        "target_names": _or_none(_list(_TEXT)),
        "table": _or_none(_fields({"inputs": _list(_COLUMN), "targets": _list(_TEXT, 0)})),
        "image": _or_none(_image),
        "precision": _fields(
            {"exported": _one_of(("float16", "float32", "float64", "int8", "int4")), "trained": _NAME}
        ),
        "backend": _NAME,
        "engine": _NAME,
        "versions": _by_name(_TEXT),
        "gates": _fields({"output": _NAME, "layers": _list(_TEXT)}),
        "batchable": _must(lambda value: isinstance(value, bool), "true or false"),
        "operations": _by_name(_by_name(_COUNT)),
        "weights_sha256": _HASH,
        "opset": _by_name(_COUNT),
        "ir_version": _COUNT,
        "producer": _TEXT,
        # What the network was converted to beside these formats. Batch 1 means one example at a time, null any number.
        "targets": _by_name(
            _fields({"runtime": _TEXT, "batch": _or_none(_must(lambda batch: _is_whole(batch, 1) and batch == 1, "1"))})
        ),
    },
)


def _contradictions(manifest: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("inputs", "outputs"):
        names = [tensor["name"] for tensor in manifest[kind]]
        if len(set(names)) < len(names):
            yield f"two {kind} of one name"
    there = {name for name, file in FORMATS.items() if file in manifest["files"]}
    if there != set(manifest["formats"]):
        yield f"formats={manifest['formats']}, with the files of {sorted(there)}"
    gates = manifest.get("gates")
    answers = [output for output in manifest["outputs"] if gates is None or output["name"] != gates["output"]]
    if gates and not any(
        _ends_with(output, len(gates["layers"])) for output in manifest["outputs"] if output not in answers
    ):
        yield f"gates={gates!r:.{_SHOWN}}, without an output for each layer"
    for kind in ("labels", "target_names"):
        given = manifest.get(kind)
        if given and not (len(answers) == 1 and _ends_with(answers[0], len(given))):
            yield f"{len(given)} {kind.replace('_', ' ')}, not one for each element of a single output"
    if manifest["activation"] and [output["name"] for output in answers] != [PROBABILITIES]:
        yield f"activation={manifest['activation']!r}, without the output {PROBABILITIES!r}"
    images = any(len(tensor["shape"]) > 3 for tensor in manifest["inputs"])
    if "layout" in manifest and images != (manifest["layout"] is not None):
        yield f"layout={manifest['layout']!r}, {'with' if images else 'without'} images"
    if manifest["preprocessing"] is not None:
        yield from _preprocessing_contradictions(manifest["preprocessing"], manifest["inputs"])
    if manifest.get("image") is not None:
        reader = ImageReader.from_dict(manifest["image"])
        if wanted := find_other_input(reader, manifest["inputs"], manifest.get("layout")):
            yield f"image={manifest['image']!r:.{_SHOWN}}, without {wanted}"


def find_other_input(reader: ImageReader, inputs: Sequence[Mapping[str, Any]], layout: Layout | None) -> str | None:
    """Describes the input that a reader of images needs, or returns None if the inputs are that one."""
    height, width = reader.size or (None, None)
    wanted = [None, reader.channels, height, width] if layout == "nchw" else [None, height, width, reader.channels]
    (given, *others) = inputs
    # Images of a fixed size fit into an input of any size.
    fits = len(given["shape"]) == 4 and all(n in (None, m) for n, m in zip(given["shape"], wanted, strict=True))
    if fits and not others and given["dtype"] == "uint8" and reader.channels is not None:
        return None
    shown = ", ".join("any" if n is None else str(n) for n in wanted)
    return f"a single input of uint8 and shape ({shown})"


def takes_rows(inputs: Sequence[Mapping[str, Any]], columns: int) -> bool:
    """Whether inputs are a single one, for rows of a table of so many columns."""
    (taken, *others) = inputs
    fits = len(taken["shape"]) == 2 and taken["shape"][1] in (columns, None)
    return fits and not others and taken["dtype"] == "float32"


def check_task(task: str | None, name: str, shape: Sequence[int | None]) -> None:
    """Raises a ValueError unless an output has the axes that a task needs."""
    wanted = {None: len(shape), "segmentation": 4}.get(task, 2)
    if len(shape) != wanted:
        raise ValueError(
            f"Expected an output with {wanted} axes for the task {task!r}. Received: {name} of shape {tuple(shape)}"
        )


def _ends_with(tensor: Mapping[str, Any], size: int) -> bool:
    return bool(tensor["shape"]) and tensor["shape"][-1] in (None, size)


def _preprocessing_contradictions(preprocessing: Mapping[str, Any], inputs: list[Mapping[str, Any]]) -> Iterator[str]:
    shape, axis = inputs[0]["shape"], preprocessing["channel_axis"]
    if len(inputs) > 1 or inputs[0]["dtype"] != preprocessing["dtype"]:
        yield f"preprocessing.dtype={preprocessing['dtype']!r}, not that of a single input"
    if preprocessing.get("reverse_channels") and not -len(shape) <= axis < len(shape):
        yield f"preprocessing.channel_axis={axis}, for an input of shape {shape}"
    for name in ("mean", "std"):
        sizes = len(value) if isinstance(value := preprocessing.get(name), list) else 1
        if sizes > 1 and not (-len(shape) <= axis < len(shape) and shape[axis] in (None, sizes)):
            yield f"preprocessing.{name} of {sizes} channels, for an input of shape {shape}"
