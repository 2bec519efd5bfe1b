"""Chooses the engine that converts models of the current backend."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec

from ..errors import ExportError
from ..model.backends import TENSORFLOW, backend
from .engine import Engine, EngineName

# For each backend, the engine that needs no TensorFlow, and the package it needs.
_OWN: dict[str, tuple[EngineName, str]] = {"jax": ("jax2onnx", "jax2onnx"), "torch": ("torch", "onnxscript")}
# The oldest opset that engines other than tf2onnx write.
_OLDEST = 18


def choose_engine(name: EngineName | None) -> EngineName:
    """Returns the name of an engine, and checks that it can convert models of the current backend.

    Args:
        name: The engine. None takes tf2onnx if TensorFlow is installed, and otherwise the backend's own engine.

    Raises:
        ExportError: If a package that the engine needs is not installed.
        ValueError: If there is no such engine, or it does not convert models of this backend.
    """
    on, (own, package) = backend(), _OWN.get(backend(), (None, ""))
    if name is None:
        name = own if own and find_spec("tensorflow") is None else "tf2onnx"
    known = ("tf2onnx",) if own is None else ("tf2onnx", own)
    if name not in known:
        others = {engine: other for other, (engine, _) in _OWN.items()}
        hint = f", which needs KERAS_BACKEND={others[name]}" if name in others else ""
        raise ValueError(f"Expected engine to be one of {known} for a model on {on}. Received: engine={name!r}{hint}")
    for needed in ("tensorflow", "tf2onnx") if name == "tf2onnx" else (package,):
        if find_spec(needed) is None:
            raise ExportError(f"Expected {needed} to be installed, to convert a model on {on}. Received: none")
    return name


@contextmanager
def open_engine(name: EngineName | None, opset: int) -> Iterator[Engine]:
    """Opens the engine that `choose_engine` returns.

    Raises:
        ValueError: If it cannot write the opset; also the errors of `choose_engine`.
    """
    name = choose_engine(name)
    if opset < _OLDEST and name != "tf2onnx":
        raise ValueError(f"Expected opset to be at least {_OLDEST} for engine={name!r}. Received: opset={opset}")
    with _make_engine(name, backend()) as engine:
        yield engine


def _make_engine(name: EngineName, on: str) -> AbstractContextManager[Engine]:
    if name == "jax2onnx":
        from .with_jax import WithJax

        return nullcontext(WithJax())
    if name == "torch":
        from .with_torch import WithTorch

        return nullcontext(WithTorch())
    if on == TENSORFLOW:
        from .tensorflow import OnTensorFlow

        return nullcontext(OnTensorFlow())
    from .tensorflow_process import TensorFlowProcess

    return TensorFlowProcess()
