"""Converts a model on PyTorch with torch.onnx, in an environment without TensorFlow."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import metadata
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ..convert.conversion import refuse_state
from ..convert.dimensions import BATCH, dimension_names, name_dimensions
from ..convert.versions import ir_version
from ..errors import ExportError, error_line
from ..model.endpoint import Endpoint
from .engine import EngineName
from .without_tensorflow import WithoutTensorFlow

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

# The batch size of the example inputs: torch.export would keep a size of 0 or 1 fixed.
_EXAMPLES = 3


class WithTorch(WithoutTensorFlow):
    """Converts with torch.onnx in this process."""

    name: EngineName = "torch"

    def convert(self, endpoint: Endpoint, opset: int) -> "ModelProto":
        import keras
        import torch

        scope = keras.StatelessScope()

        class Module(torch.nn.Module):
            def forward(self, *tensors: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
                with scope:
                    return tuple(endpoint(*tensors).values())

        try:
            with _quietly(), torch.no_grad():
                program = torch.onnx.export(
                    Module().eval(),
                    tuple(_example(endpoint)),
                    dynamo=True,
                    opset_version=opset,
                    input_names=[raw.name for raw in endpoint.inputs],
                    output_names=list(endpoint.outputs),
                    dynamic_shapes=(_dynamic_sizes(endpoint),),
                    verbose=False,
                )
            model: ModelProto = program.model_proto
        except Exception as error:  # The converter and the model's own code may raise anything.
            raise ExportError(
                f"Expected a model that torch.onnx converts to ONNX opset {opset}. "
                f"Received: {endpoint.model.name}, for which it raised {error_line(error)}"
            ) from error
        refuse_state(endpoint.model, scope)
        model.graph.name, model.ir_version = endpoint.model.name, ir_version(opset)
        return name_dimensions(model, endpoint)

    def list_versions(self) -> dict[str, str]:
        return {"onnxscript": metadata.version("onnxscript")}


@contextmanager
def _quietly() -> Iterator[None]:
    """Silences warnings, and what the exporter logs and prints. Its errors are exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _example(endpoint: Endpoint) -> "list[torch.Tensor]":
    from keras import ops

    return [ops.zeros((_EXAMPLES, *raw.example()), np.dtype(raw.dtype).name) for raw in endpoint.inputs]


def _dynamic_sizes(endpoint: Endpoint) -> tuple[dict[int, Any], ...]:
    import torch

    names = dimension_names(endpoint.inputs, endpoint.channels_first)
    batch = torch.export.Dim(BATCH)
    return tuple(
        {0: batch} | {axis: torch.export.Dim(name) for axis, name in enumerate(own) if axis and name} for own in names
    )
