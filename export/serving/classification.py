"""Classifies image files that clients send: decodes them in threads, and names the most probable classes.

Few images are decoded at once, since each may need the memory of many bodies. What they become is held to the limit of
a body.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson

from ..model.reading import ImageInput
from ..predictor import rank_classes
from ..storage.arrays import Batch
from ..storage.manifest import gates_output
from .errors import QueueFull, RequestError
from .protocol.v2 import is_finite

# What a browser or a tool sends for a file whose type it does not know is taken too.
_TYPES = ("image/", "application/octet-stream")
_TOP = 5
_THREADS = ThreadPoolExecutor(2, "images")


class Classifier:
    """Turns image files into a batch for a model, and its outputs into an answer.

    Args:
        artifact: The contents of artifact.json.
        name: The name of the model for clients.
        largest: How many bytes the pixels of an image may have.
        queue: How many images may wait to be decoded.

    Attributes:
        wanted: What a model must have for it, in error messages.
        offered: Whether the artifact records how images are read, and gives probabilities of classes.
    """

    wanted = "a model that records how images are read and gives probabilities of classes"

    def __init__(self, artifact: Mapping[str, Any], name: str, largest: int, queue: int) -> None:
        self._artifact, self._name, self._largest, self._queue = artifact, name, largest, queue
        self._input, self._waiting, self._gates = ImageInput.from_manifest(artifact), 0, gates_output(artifact)
        outputs = [output for output in artifact["outputs"] if output["name"] != self._gates]
        gives_classes = artifact["activation"] is not None and len(outputs) == 1 and len(outputs[0]["shape"]) == 2
        self._output = outputs[0]["name"]
        self.offered = self._input is not None and gives_classes

    def check(self, content_type: str) -> None:
        """Raises a RequestError unless the content type may be that of an image."""
        if not content_type.lower().startswith(_TYPES):
            raise RequestError(
                "Expected the bytes of an image file with its content type, such as image/jpeg. "
                f"Received: {content_type[:80] or 'no content type'}",
                415,
            )

    async def decode(self, content: bytes) -> Batch:
        """Decodes an image file to a batch of one.

        Raises:
            QueueFull: If too many others wait.
            RequestError: If it cannot be decoded, or has too many pixels.
        """
        if self._waiting >= self._queue:
            raise QueueFull
        self._waiting += 1
        try:
            pixels = await asyncio.get_running_loop().run_in_executor(_THREADS, self._read, content)
        finally:
            self._waiting -= 1
        return {self._artifact["inputs"][0]["name"]: pixels}

    def _read(self, content: bytes) -> np.ndarray:
        assert self._input is not None
        try:
            pixels = self._input.read(content)
        except ValueError as error:
            raise RequestError(str(error)) from None
        except ImportError as error:
            raise RequestError(str(error), 501) from None
        if pixels.nbytes > self._largest:
            raise RequestError(
                f"Expected an image of at most {self._largest} bytes when it is decoded. Received: {pixels.nbytes}", 413
            )
        return pixels

    def render(self, batch: Batch, outputs: Batch, query: Mapping[str, str]) -> bytes:
        """Renders the body that answers a request.

        Args:
            batch: The decoded image.
            outputs: Every output of the model.
            query: "top" is the number of classes to name; "pixels" is "true" to get the decoded image too.

        Raises:
            RequestError: If a parameter is wrong, or the model does not give finite numbers.
        """
        if not all(is_finite(y) for y in outputs.values()):
            raise RequestError("Expected an image for which the model gives finite numbers. Received: NaN or infinity")
        (probabilities,) = outputs[self._output]
        labels = self._artifact["labels"] or [str(i) for i in range(len(probabilities))]
        classes = name_classes(probabilities, labels, read_top(query))
        answer: dict[str, Any] = {"model_name": self._name, "classes": classes}
        if self._gates is not None:
            names = self._artifact["gates"]["layers"]
            answer["gates"] = [
                {"layer": layer, "carry": float(carry)}
                for layer, carry in zip(names, outputs[self._gates][0], strict=True)
            ]
        if query.get("pixels") == "true":
            ((pixels,),) = batch.values()
            data = base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()
            answer["pixels"] = {"shape": list(pixels.shape), "data": data}
        return orjson.dumps(answer)


def name_classes(
    values: np.ndarray, labels: Sequence[str], top: int, kind: str = "probability"
) -> list[dict[str, Any]]:
    """Names the classes of the largest values, the largest first; `kind` says what the values are."""
    return [{"label": labels[i], kind: float(values[i])} for i in rank_classes(values, top)]


def read_top(query: Mapping[str, str]) -> int:
    """Reads the number of classes to name; raises a RequestError if it is none."""
    text = query.get("top", str(_TOP))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise RequestError(f"Expected top to be a number of classes, at least 1. Received: top={text[:40]}")
    return int(text)
