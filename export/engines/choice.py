"""Chooses the engine for the backend that the caller's model is on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec

from ..errors import ExportError
from ..model.backends import TENSORFLOW, backend
from .engine import Engine, EngineName

# The engine of a backend that needs no TensorFlow, and what it needs.
_OWN: dict[str, tuple[EngineName, str]] = {"jax": ("jax2onnx", "jax2onnx"), "torch": ("torch", "onnxscript")}
# The first opset that the others write.
_OLDEST = 18


def choose_engine(name: EngineName | None) -> EngineName:
    """Returns the name of the engine for the backend of this process; None chooses tf2onnx if TensorFlow is installed.

    Raises:
        ExportError: If it is not installed.
        ValueError: If there is no such engine, or it does not convert models on the backend.
    """
    on, (own, package) = backend(), _OWN.get(backend(), (None, ""))
    if name is None:
        name = own if own and find_spec("tensorflow") is None else "tf2onnx"
    known = ("tf2onnx",) if own is None else ("tf2onnx", own)
    if name not in known:
        raise ValueError(f"Expected engine to be one of {known} for a model on {on}. Received: engine={name!r}")
    for needed in ("tensorflow", "tf2onnx") if name == "tf2onnx" else (package,):
        if find_spec(needed) is None:
            raise ExportError(f"Expected {needed} to be installed, which converts models on {on}. Received: none")
    return name


@contextmanager
def open_engine(name: EngineName | None, opset: int) -> Iterator[Engine]:
    """Opens an engine that writes an opset; `choose_engine` says which, and which errors it raises."""
    name = choose_engine(name)
    if opset < _OLDEST and name != "tf2onnx":
        raise ValueError(f"Expected opset to be at least {_OLDEST} for engine={name!r}. Received: opset={opset}")
    with _opened(name, backend()) as engine:
        yield engine


def _opened(name: EngineName, on: str) -> AbstractContextManager[Engine]:
    if name == "jax2onnx":
        from .with_jax import WithJax

        return nullcontext(WithJax())
    if name == "torch":
        from .with_torch import WithTorch

        return nullcontext(WithTorch())
    if on == TENSORFLOW:
        from .tensorflow import OnTensorFlow

        return nullcontext(OnTensorFlow())
    from .elsewhere import Elsewhere

    return Elsewhere()
