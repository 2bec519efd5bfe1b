"""What a graph says about the inputs of a model, which Keras itself does not remember: their types and ranges."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import keras

    from .endpoint import Endpoint
    from .inputs import RawInput


class Tracer(Protocol):
    """Traces a model and reads its graph."""

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
