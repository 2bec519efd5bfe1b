"""Describes a model for a page in a browser, from its manifest and its recorded inputs."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..storage.arrays import Batch
from ..storage.manifest import gates_output

_DATATYPES = {"uint8": "UINT8", "float32": "FP32"}
_SAMPLES, _REAL = 12, "real"
_BYTE = 255


def describe_for_page(manifest: Mapping[str, Any], samples: Mapping[str, Batch]) -> dict[str, Any]:
    """Describes a model for a page.

    Args:
        manifest: The contents of artifact.json.
        samples: Recorded inputs by the name of their batch.

    Returns:
        Its name, `labels`, `activation` and `gates` (the output with the gates of highway blocks, and the names of the
        blocks, if the artifact has them). For a model of one image also `image` (the name, height, width, channels,
        layout and datatype of the input, and the value of white; a dynamic size is None), `output` (the name of the
        output with the classes) and `samples` (images in base64).
    """
    about: dict[str, Any] = {name: manifest.get(name) for name in ("name", "labels", "activation", "gates")}
    about |= {"image": None, "output": None, "samples": []}
    (declared, *others) = manifest["inputs"]
    gates = gates_output(manifest)
    outputs = [output for output in manifest["outputs"] if output["name"] != gates]
    shape, layout = declared["shape"], manifest.get("layout")
    if others or len(shape) != 4 or len(outputs) != 1 or len(outputs[0]["shape"]) != 2:
        return about
    channels, (height, width) = (shape[1], shape[2:]) if layout == "nchw" else (shape[3], shape[1:3])
    if channels not in (1, 3) or declared["dtype"] not in _DATATYPES:
        return about
    about["output"] = outputs[0]["name"]
    about["image"] = {
        "input": declared["name"],
        "datatype": _DATATYPES[declared["dtype"]],
        "height": height,
        "width": width,
        "channels": channels,
        "layout": layout,
    }
    batches = [batch for name, batch in samples.items() if name.startswith(_REAL)]
    images = [image for batch in batches for image in batch[declared["name"]]][:_SAMPLES]
    about["image"]["white"] = _find_white(manifest["preprocessing"], images)
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
