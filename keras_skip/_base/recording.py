"""Records what layers compute inside a model, such as their gates, while a recording is open.

GATES = Recorder("...")
with GATES.open() as found: model(x)        calls GATES.add((layer, gate), gate) inside
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

from .shapes import Tensor


class Recorder:
    """The open recordings of one kind of value.

    Args:
        name: The name of the kind.
        nothing: The error message if a recording ends empty.
    """

    def __init__(self, name: str, nothing: str) -> None:
        self._nothing = nothing
        # The open lists, and whether each was opened in code that is being traced.
        self._open: ContextVar[tuple[tuple[list, bool], ...]] = ContextVar(name, default=())

    @contextmanager
    def open(self) -> Iterator[list]:
        """Collects the entries that are added inside in a list. Raises a ValueError at the end if there are none."""
        found: list[Any] = []
        token = self._open.set((*self._open.get(), (found, _is_traced(ops.ones(())))))
        try:
            yield found
        finally:
            self._open.reset(token)
        if not found:
            raise ValueError(self._nothing)

    def add(self, entry: Any, value: Tensor) -> None:
        """Adds an entry, which holds the tensor `value`, to the open lists.

        A tensor of traced code has no value outside it, so it goes only into lists that were opened in traced code.
        """
        for found, opened_in_trace in self._open.get():
            if opened_in_trace or not _is_traced(value):
                found.append(entry)


def _is_traced(x: Tensor) -> bool:
    """Whether a tensor is a placeholder of code that is being traced, and has no value outside of it."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.is_symbolic_tensor(x)
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(x, jax.core.Tracer)
    return x.device.type == "meta"
