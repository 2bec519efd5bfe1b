"""Adapts TensorFlow and Keras while a model is traced, and reports a failure in one sentence."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import ExportError, error_line
from ..limits import enforce_limits

if TYPE_CHECKING:
    from .endpoint import Endpoint

# Tracing and converting change the state of the whole process: the names that tf2onnx counts, its patches of
# TensorFlow, and its log.
ONE_AT_A_TIME = threading.RLock()
_inlining = ContextVar("inlining", default=False)


@contextmanager
def guard_tracing(endpoint: "Endpoint") -> Iterator[None]:
    """Turns a failure to trace a model into an ExportError that names the shapes.

    Raises:
        ExportError: If the model cannot be traced, or exceeds a limit.
    """
    doing = f"the tracing of {endpoint.model.name}"
    try:
        with ONE_AT_A_TIME, _keep_scopes(), name_by_layers(), _allow_dynamic_resize(), enforce_limits(doing):
            yield
    except ExportError:
        raise
    except Exception as error:  # The model's own code may raise anything.
        shapes = ", ".join(f"{raw.name} {raw.shape}" for raw in endpoint.inputs)
        raise ExportError(
            f"Expected a model that TensorFlow can trace for {shapes}. "
            f"Received: {endpoint.model.name}, which raised {error_line(error)}"
        ) from error


@contextmanager
def _keep_scopes() -> Iterator[None]:
    """Restores Keras's name scopes, which Keras does not if TensorFlow refuses the name of a layer.

    The names of all later variables would begin with the remaining scopes.
    """
    from keras.src.backend.common import global_state

    scopes = global_state.get_global_attribute("name_scope_stack", default=[], set_to_default=True)
    before = list(scopes)
    try:
        yield
    finally:
        scopes[:] = before


@contextmanager
def name_by_layers() -> Iterator[None]:
    """Names operations after the layers that make them: norm/mul, where TensorFlow says norm_1/mul in later traces."""
    import tensorflow as tf
    from keras.src.backend.tensorflow.core import name_scope

    original = name_scope.__enter__

    def enter(self: Any) -> Any:
        around = tf.get_current_name_scope()
        # A name that ends with a slash is taken as it is.
        self._tf_name_scope = tf.name_scope(f"{around}/{self.name}/" if around else f"{self.name}/")
        return original(self)

    name_scope.__enter__ = enter
    try:
        yield
    finally:
        name_scope.__enter__ = original


@contextmanager
def _allow_dynamic_resize() -> Iterator[None]:
    """Lets images be resized to a dynamic size, which Keras would compare with 0."""
    import keras
    from keras.src.ops import image
    from tensorflow import is_tensor

    original = image.resize

    def resize(images: Any, size: Any, *arguments: Any, **options: Any) -> Any:
        unknown = not isinstance(images, keras.KerasTensor) and any(map(is_tensor, size))
        return (image._resize if unknown else original)(images, size, *arguments, **options)

    modules = (image, keras.ops.image)
    for module in modules:
        module.resize = resize
    try:
        yield
    finally:
        for module in modules:
            module.resize = original


@contextmanager
def inline_calls() -> Iterator[None]:
    """Inlines the functions that a function calls while this thread traces it.

    Keras compiles grouped convolutions, and volumes with channels first, as functions that tf2onnx cannot look into.
    """
    _allow_inlining()
    token = _inlining.set(True)
    try:
        yield
    finally:
        _inlining.reset(token)


@cache
def _allow_inlining() -> None:
    """Gives each thread its own switch, because `run_functions_eagerly` would also affect threads that train."""
    import tensorflow as tf

    function = type(tf.function(lambda: None))
    switch = function._run_functions_eagerly.fget
    function._run_functions_eagerly = property(lambda self: _inlining.get() or switch(self))
