"""Computes the logits of an ONNX file that ends in a softmax or sigmoid, whose saturation would hide differences."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.processes import Form, run_forms
from ..storage.arrays import Batch
from ..storage.onnx_files import data_path
from .layouts import find_layout

if TYPE_CHECKING:
    from onnx import GraphProto

_ACTIVATIONS = ("Softmax", "Sigmoid")
# The operations that may come between an activation and the output.
_BETWEEN = ("Identity", "Transpose", "Cast")


def run_to_logits(
    model: Path, outputs: Iterable[str], inputs: Mapping[str, Batch], form: Form
) -> dict[str, Batch] | None:
    """Runs a file up to the logits of its outputs.

    Args:
        model: The file.
        outputs: The names of the outputs that end in an activation.
        inputs: Batches by name.
        form: The way to run the file.

    Returns:
        The logits of each batch by the name of their output, or None if the file does not end in an activation.
    """
    with _expose_logits(model, outputs) as (probe, tensors):
        if not tensors:
            return None
        (answers,) = run_forms(probe, inputs, (form,)).values()
    return {name: {output: batch[tensor] for output, tensor in tensors.items()} for name, batch in answers.items()}


def match_layout(received: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Converts logits to the layout and the type of the reference; in fp16 the last cast comes after them."""
    nearest = find_layout(received, expected)
    return (received if nearest is None else nearest).astype(expected.dtype)


@contextmanager
def _expose_logits(model: Path, outputs: Iterable[str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Writes a copy of a file that also outputs the logits, and yields it with the name of each output's logits."""
    import onnx

    opened = onnx.load(model, load_external_data=False)
    tensors = _find_logits(opened.graph, outputs)
    given = {value.name for value in opened.graph.output}
    opened.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(tensors.values()) if name not in given
    )
    with tempfile.TemporaryDirectory(prefix=".keras-skip-", dir=model.parent) as folder:
        probe = Path(folder) / model.name
        onnx.save(opened, probe)
        if data_path(model).exists():
            os.link(data_path(model), data_path(probe))
        yield probe, tensors


def _find_logits(graph: "GraphProto", outputs: Iterable[str]) -> dict[str, str]:
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for output in outputs:
        node = makers.get(output)
        while node is not None and node.op_type in _BETWEEN:
            node = makers.get(node.input[0])
        # Inputs and weights have no node, and a session cannot output them.
        if node is not None and node.op_type in _ACTIVATIONS and node.input[0] in makers:
            found[output] = node.input[0]
    return found
