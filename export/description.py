"""Describes an export for `artifact.json`."""

from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .convert.onnx_model import describe_file
from .engines.engine import Engine
from .model.backends import TENSORFLOW, backend
from .model.endpoint import Endpoint
from .precision.tolerances import EXPORTED, Precision
from .storage.arrays import Batch
from .storage.manifest import ONNX, SAVED_MODEL


def describe(endpoint: Endpoint, folder: Path, expected: Batch, precision: Precision, engine: Engine) -> dict[str, Any]:
    """Returns the fields of artifact.json that the files in a folder and the exported function decide."""
    floats = [y.dtype for y in expected.values() if y.dtype.kind == "f"]
    exported = max(floats, key=lambda dtype: dtype.itemsize, default=np.dtype("float32")).name
    raw = endpoint.inputs[0].preprocessing
    about = {
        "formats": [name for name, file in (("saved_model", SAVED_MODEL), ("onnx", ONNX)) if (folder / file).exists()],
        "inputs": [{"name": i.name, "shape": list(i.shape), "dtype": i.dtype} for i in endpoint.inputs],
        "outputs": [
            {"name": name, "shape": [None, *shape[1:]] if shape else [], "dtype": expected[name].dtype.name}
            for name, shape in zip(endpoint.outputs, endpoint.output_shapes, strict=True)
        ],
        "preprocessing": raw.to_dict() if raw else None,
        "activation": endpoint.activation,
        "layout": endpoint.layout,
        "precision": {
            "exported": EXPORTED.get(precision, exported),
            "trained": endpoint.trained_precision or exported,
        },
        "backend": backend(),
        "engine": engine.name,
        "versions": _list_versions(engine),
    }
    if endpoint.gates is not None:
        about["gates"] = endpoint.gates.to_dict()
    return about | (describe_file(folder / ONNX) if (folder / ONNX).is_file() else {})


def _list_versions(engine: Engine) -> dict[str, str]:
    import keras
    import onnx
    import onnxruntime

    modules = {"keras": keras, "numpy": np, "onnx": onnx, "onnxruntime": onnxruntime}
    versions = {name: module.__version__ for name, module in modules.items()} | engine.list_versions()
    if backend() != TENSORFLOW:
        versions[backend()] = metadata.version(backend())
    with suppress(metadata.PackageNotFoundError):
        versions["keras-skip"] = metadata.version("keras-skip")
    return versions
