"""What the page for a browser needs to know of a model; the page itself is page.html."""

import base64
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from ._model import Model

PAGE = files(__package__).joinpath("page.html").read_bytes()
PAGE_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
_SAMPLES, _REAL = 12, "real"
_BYTE = 255


def description(model: Model) -> dict[str, Any]:
    """What the page shows of a model.

    Returns:
        Its name, `labels`, `activation`, and where it takes one image: `image` with the input's name, height, width
        (None where any will do), channels, layout, datatype and the value of white, and `samples`, images in base64
        as they are sent.
    """
    about: dict[str, Any] = {
        "name": model.name,
        "labels": model.artifact["labels"],
        "activation": model.artifact["activation"],
        "image": None,
        "samples": [],
    }
    (declared, *others), outputs = model.metadata["inputs"], model.metadata["outputs"]
    shape, layout = declared["shape"], model.artifact["layout"]
    if others or len(shape) != 4 or len(outputs) != 1 or len(outputs[0]["shape"]) != 2:
        return about
    channels, sides = (shape[1], shape[2:]) if layout == "nchw" else (shape[3], shape[1:3])
    if channels not in (1, 3) or declared["datatype"] not in ("UINT8", "FP32"):
        return about
    height, width = (None if n == -1 else n for n in sides)
    about["image"] = {
        "input": declared["name"],
        "datatype": declared["datatype"],
        "height": height,
        "width": width,
        "channels": channels,
        "layout": layout,
        "white": _white(model.artifact["preprocessing"]),
    }
    batches = [batch for name, batch in model.samples.items() if name.startswith(_REAL)]
    images = [image for batch in batches for image in batch[declared["name"]]][:_SAMPLES]
    about["samples"] = [
        {"shape": list(image.shape), "data": base64.b64encode(np.ascontiguousarray(image).tobytes()).decode()}
        for image in images
    ]
    return about


def _white(preprocessing: Mapping[str, Any] | None) -> int:
    """The brightest value of a pixel: what the network's preprocessing scales to one."""
    scale = 1.0 if preprocessing is None else preprocessing["scale"]
    return round(1 / scale) if 1 / _BYTE <= scale < 1 else _BYTE
