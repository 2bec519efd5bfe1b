"""Converts a model on JAX with jax2onnx, in an environment without TensorFlow."""

from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from ..convert.dimensions import BATCH, dimension_names
from ..model.endpoint import Endpoint
from .engine import EngineName
from .without_tensorflow import WithoutTensorFlow

if TYPE_CHECKING:
    import jax
    from onnx import ModelProto


class WithJax(WithoutTensorFlow):
    """Converts with jax2onnx in this process."""

    name: EngineName = "jax2onnx"
    converter = "jax2onnx"

    def _convert(self, call: Callable[..., tuple[Any, ...]], endpoint: Endpoint, opset: int) -> "ModelProto":
        import jax
        import jax2onnx

        def call_distinct(*tensors: "jax.Array") -> "tuple[jax.Array, ...]":
            # jax2onnx gives an output that is also an input only one name.
            return tuple(y * 1 if y.dtype != bool and any(y is x for x in tensors) else y for y in call(*tensors))

        names = dimension_names(endpoint.inputs, endpoint.channels_first)
        specs = [
            jax.ShapeDtypeStruct(
                (BATCH, *(own or size for own, size in zip(given[1:], raw.shape[1:], strict=True))), np.dtype(raw.dtype)
            )
            for given, raw in zip(names, endpoint.inputs, strict=True)
        ]
        model: ModelProto = jax2onnx.to_onnx(
            call_distinct,
            specs,
            opset=opset,
            input_names=[raw.name for raw in endpoint.inputs],
            output_names=list(endpoint.outputs),
        )
        return model

    def list_versions(self) -> dict[str, str]:
        return {"jax2onnx": metadata.version("jax2onnx")}
