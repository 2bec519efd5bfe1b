"""Describes models for the page for a browser, which is page.html."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from ..storage.manifest import gates_output
from .model import Model

PAGE = files(__package__).joinpath("page.html").read_bytes()
PAGE_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
_SAMPLES, _REAL = 12, "real"
_BYTE = 255


def describe_model(model: Model) -> dict[str, Any]:
    """Describes a model for the page.

    Returns:
        Its name, `labels`, `activation`, `classifies` (whether it takes image files at /classify) and `gates` (the
        output with the gates of highway blocks, and the names of the blocks, if the artifact has them). For a model of
        one image also `image` (the name, height, width, channels, layout and datatype of the input, and the value of
        white; a dynamic size is None), `output` (the name of the output with the classes) and `samples` (images in
        base64, as they are sent).
    """
    about: dict[str, Any] = {
        "name": model.name,
        "labels": model.artifact["labels"],
        "activation": model.artifact["activation"],
        "classifies": model.classifier.offered,
        "gates": model.artifact.get("gates"),
        "image": None,
        "output": None,
        "samples": [],
    }
    (declared, *others) = model.metadata["inputs"]
    gates = gates_output(model.artifact)
    outputs = [output for output in model.metadata["outputs"] if output["name"] != gates]
    shape, layout = declared["shape"], model.artifact["layout"]
    if others or len(shape) != 4 or len(outputs) != 1 or len(outputs[0]["shape"]) != 2:
        return about
    channels, sides = (shape[1], shape[2:]) if layout == "nchw" else (shape[3], shape[1:3])
    if channels not in (1, 3) or declared["datatype"] not in ("UINT8", "FP32"):
        return about
    about["output"] = outputs[0]["name"]
    height, width = (None if n == -1 else n for n in sides)
    about["image"] = {
        "input": declared["name"],
        "datatype": declared["datatype"],
        "height": height,
        "width": width,
        "channels": channels,
        "layout": layout,
    }
    batches = [batch for name, batch in model.samples.items() if name.startswith(_REAL)]
    images = [image for batch in batches for image in batch[declared["name"]]][:_SAMPLES]
    about["image"]["white"] = _find_white(model.artifact["preprocessing"], images)
    about["samples"] = [
        {"shape": list(image.shape), "data": base64.b64encode(np.ascontiguousarray(image).tobytes()).decode()}
        for image in images
    ]
    return about


def _find_white(preprocessing: Mapping[str, Any] | None, images: Sequence[np.ndarray] = ()) -> int:
    """Returns the brightest value of a pixel, which the preprocessing scales to one unless an image is brighter.

    Preprocessing from -1 to 1 scales the middle to one.
    """
    scale = 1.0 if preprocessing is None else preprocessing["scale"]
    white = round(1 / scale) if 1 / _BYTE <= scale < 1 else _BYTE
    return white if all(image.max() <= white for image in images) else _BYTE
