"""A trained Keras model becomes a SavedModel and an ONNX file that are proven to compute the same thing.

Converting needs Keras and TensorFlow; checking an artifact and predicting with it need only NumPy, onnx and
onnxruntime. Names are loaded when they are first used, so that importing this package imports none of those.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifact import Artifact, export
    from .deployment import deploy
    from .errors import DeviceError, ExportError, ParityError, PrecisionError, VerificationError
    from .inspection import inspect
    from .onnx_model import to_onnx
    from .parity import Parity, compare
    from .predictor import Predictor, load
    from .preprocessing import Preprocessing
    from .saved_model import to_saved_model
    from .serving import run_on_ray, serve
    from .verification import verify

_HOMES = {
    "Artifact": "artifact",
    "DeviceError": "errors",
    "ExportError": "errors",
    "Parity": "parity",
    "ParityError": "errors",
    "PrecisionError": "errors",
    "Predictor": "predictor",
    "Preprocessing": "preprocessing",
    "VerificationError": "errors",
    "compare": "parity",
    "deploy": "deployment",
    "export": "artifact",
    "inspect": "inspection",
    "load": "predictor",
    "run_on_ray": "serving",
    "serve": "serving",
    "to_onnx": "onnx_model",
    "to_saved_model": "saved_model",
    "verify": "verification",
}

__all__ = [
    "Artifact",
    "DeviceError",
    "ExportError",
    "Parity",
    "ParityError",
    "PrecisionError",
    "Predictor",
    "Preprocessing",
    "VerificationError",
    "compare",
    "deploy",
    "export",
    "inspect",
    "load",
    "run_on_ray",
    "serve",
    "to_onnx",
    "to_saved_model",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
