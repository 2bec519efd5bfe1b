"""Converts a network once and damages copies of its file: the proof has to refuse every one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import export
from export.convert.onnx_model import write_onnx
from export.model.wrapping import make_endpoint
from export.proof.prove import prove
from export.proof.reference import Reference, compute_reference

Change = Callable[[Any], None]


class Converted:
    """A network, what Keras makes of it, and its ONNX file."""

    def __init__(self, folder: Path, model: keras.Model, activation: str | None = None, samples: Any = None) -> None:
        endpoint = make_endpoint(model, None, activation, None, samples)
        self.reference: Reference = compute_reference(endpoint, model, samples, batch_sizes=(1, 2, 7))
        self.file = folder / "model.onnx"
        write_onnx(endpoint, self.file, 17)

    def damaged(self, change: Change) -> Path:
        model = onnx.load(self.file)
        change(model)
        target = self.file.with_name("damaged.onnx")
        onnx.save(model, target)
        return target

    def refuses(self, change: Change, **options: Any) -> str:
        """The sentence with which a damaged file is refused."""
        with pytest.raises((export.ParityError, export.ExportError)) as refusal:
            prove(self.reference, onnx=self.damaged(change), device="cpu", locate=False, **options)
        return str(refusal.value)


def after(operation: str, *constants: Any, output: int = 0) -> Change:
    """Applies an operation to an output and constants."""

    def change(model: Any) -> None:
        graph = model.graph
        name = graph.output[output].name
        for node in graph.node:
            node.output[:] = ["exact" if made == name else made for made in node.output]
            node.input[:] = ["exact" if used == name else used for used in node.input]
        names = [f"operand{i}" for i in range(len(constants))]
        held = zip(names, constants, strict=True)
        graph.initializer.extend(numpy_helper.from_array(np.asarray(x), held_name) for held_name, x in held)
        graph.node.append(helper.make_node(operation, ["exact", *names], [name]))

    return change


def of_weights(shape: tuple[int, ...], edit: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Changes every weight of a shape."""

    def change(model: Any) -> None:
        found = [weights for weights in model.graph.initializer if tuple(weights.dims) == shape]
        assert found, [tuple(weights.dims) for weights in model.graph.initializer]
        for weights in found:
            edited = np.ascontiguousarray(edit(numpy_helper.to_array(weights).copy()))
            weights.CopyFrom(numpy_helper.from_array(edited, weights.name))

    return change


def column(index: int, edit: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], np.ndarray]:
    def change(weights: np.ndarray) -> np.ndarray:
        weights[:, index] = edit(weights[:, index])
        return weights

    return change
