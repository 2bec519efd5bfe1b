"""Converts a model on JAX with jax2onnx, in an environment without TensorFlow."""

import warnings
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

from ..convert.conversion import refuse_state
from ..convert.dimensions import BATCH, dimension_names, name_dimensions
from ..convert.versions import ir_version
from ..errors import ExportError, error_line
from ..model.endpoint import Endpoint
from .engine import EngineName
from .without_tensorflow import WithoutTensorFlow

if TYPE_CHECKING:
    import jax
    from onnx import ModelProto


class WithJax(WithoutTensorFlow):
    """Converts with jax2onnx in this process."""

    name: EngineName = "jax2onnx"

    def convert(self, endpoint: Endpoint, opset: int) -> "ModelProto":
        import jax
        import jax2onnx
        import keras

        scope = keras.StatelessScope()

        def call(*tensors: "jax.Array") -> "tuple[jax.Array, ...]":
            with scope:
                outputs = endpoint(*tensors).values()
            # jax2onnx gives an output that is also an input only one name.
            return tuple(y * 1 if y.dtype != bool and any(y is x for x in tensors) else y for y in outputs)

        names = dimension_names(endpoint.inputs, endpoint.channels_first)
        specs = [
            jax.ShapeDtypeStruct(
                (BATCH, *(own or size for own, size in zip(given[1:], raw.shape[1:], strict=True))), np.dtype(raw.dtype)
            )
            for given, raw in zip(names, endpoint.inputs, strict=True)
        ]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = jax2onnx.to_onnx(
                    call,
                    specs,
                    model_name=endpoint.model.name,
                    opset=opset,
                    input_names=[raw.name for raw in endpoint.inputs],
                    output_names=list(endpoint.outputs),
                )
        except Exception as error:  # The converter and the model's own code may raise anything.
            raise ExportError(
                f"Expected a model that jax2onnx converts to ONNX opset {opset}. "
                f"Received: {endpoint.model.name}, for which it raised {error_line(error)}"
            ) from error
        refuse_state(endpoint.model, scope)
        model.ir_version = ir_version(opset)
        return name_dimensions(model, endpoint)

    def list_versions(self) -> dict[str, str]:
        return {"jax2onnx": metadata.version("jax2onnx")}
