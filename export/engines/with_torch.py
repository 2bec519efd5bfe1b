"""Converts a model on PyTorch with torch.onnx, in an environment without TensorFlow."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import metadata
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ..convert.dimensions import BATCH, dimension_names
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
    converter = "torch.onnx"

    def _convert(self, call: Callable[..., tuple[Any, ...]], endpoint: Endpoint, opset: int) -> "ModelProto":
        import torch

        class Module(torch.nn.Module):
            def forward(self, *tensors: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
                return call(*tensors)

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
        return model

    def list_versions(self) -> dict[str, str]:
        return {"onnxscript": metadata.version("onnxscript")}


@contextmanager
def _quietly() -> Iterator[None]:
    """Silences what the exporter logs and prints. Its errors are exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
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
