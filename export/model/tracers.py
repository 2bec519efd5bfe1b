"""Reads the types and ranges of a model's inputs, which Keras does not remember, from the model's graph."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import keras

    from .endpoint import Endpoint
    from .inputs import RawInput


class Tracer(Protocol):
    """The interface of what reads a model's inputs."""

    def infer_dtypes(self, model: "keras.Model", structure: Any) -> Any:
        """Returns a structure of float32 KerasTensors with the types that a model casts them to."""

    def find_ranges(self, endpoint: "Endpoint") -> "tuple[RawInput, ...]":
        """Returns the inputs of an endpoint with the ranges that its graph shows."""


class TensorFlowTracer:
    """Traces with TensorFlow in this process."""

    def infer_dtypes(self, model: "keras.Model", structure: Any) -> Any:
        from .dtypes import infer_dtypes

        return infer_dtypes(model, structure)

    def find_ranges(self, endpoint: "Endpoint") -> "tuple[RawInput, ...]":
        from .ranges import find_ranges
        from .tracing import guard_tracing

        with guard_tracing(endpoint):
            return find_ranges(endpoint)
