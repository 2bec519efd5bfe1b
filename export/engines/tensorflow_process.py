"""Converts a model on JAX or PyTorch with tf2onnx, in another process whose backend is TensorFlow.

That process rebuilds the model from its config and weights. The files that it writes are then compared with the
original model in this process.
"""

import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.endpoint import Endpoint
from ..model.inputs import RawInput
from ..runtime.companion import Companion
from ..storage.arrays import Batch
from .engine import EngineName
from .model_transfer import MODEL, pack_model

if TYPE_CHECKING:
    import keras
    from onnx import ModelProto

_ENVIRONMENT = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
_open: ContextVar[Companion | None] = ContextVar("companion", default=None)


@contextmanager
def keep_process() -> Iterator[Companion]:
    """Keeps the process on TensorFlow that converts models on JAX and PyTorch, for all exports in the block.

    The process takes seconds to start. Outside such a block, each export starts a new one.

    Example:
        >>> with keep_process():
        ...     for model in models:
        ...         export(model, model.name)
    """
    if (companion := _open.get()) is not None:
        yield companion
        return
    companion = Companion("The process on TensorFlow", _ENVIRONMENT)
    token = _open.set(companion)
    try:
        yield companion
    finally:
        _open.reset(token)
        companion.close()


class TensorFlowProcess:
    """Converts in a process on TensorFlow, which starts with the first request."""

    name: EngineName = "tf2onnx"

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._sent: tuple[keras.Model, dict[str, Any]] | None = None

    def __enter__(self) -> "TensorFlowProcess":
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="keras-skip-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def infer_dtypes(self, model: "keras.Model", structure: Any) -> Any:
        import keras

        leaves = keras.tree.flatten(structure)
        specs = [(tuple(leaf.shape), leaf.dtype) for leaf in leaves]
        dtypes = self._ask("infer_dtypes", model, structure=_number(structure), specs=specs)
        typed = [keras.KerasTensor(leaf.shape, dtype) for leaf, dtype in zip(leaves, dtypes, strict=True)]
        return keras.tree.pack_sequence_as(structure, typed)

    def find_ranges(self, endpoint: Endpoint) -> tuple[RawInput, ...]:
        found: tuple[RawInput, ...] = self._ask("find_ranges", endpoint.model, endpoint=_detach(endpoint))
        return found

    def convert(self, endpoint: Endpoint, opset: int) -> "ModelProto":
        import onnx

        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            file = Path(folder) / "model.onnx"
            self._ask("convert", endpoint.model, endpoint=_detach(endpoint), opset=opset, path=file)
            return onnx.load(file)

    def write_saved_model(self, endpoint: Endpoint, path: Path) -> None:
        self._ask("write_saved_model", endpoint.model, endpoint=_detach(endpoint), path=path.resolve())

    def load_saved_model(self, path: Path) -> Callable[[Batch], Batch]:
        def run(batch: Batch) -> Batch:
            given: Batch = self._companion.ask("engines.jobs:run_saved_model", path=path.resolve(), batch=batch)
            return given

        return run

    def list_versions(self) -> dict[str, str]:
        versions: dict[str, str] = self._companion.ask("engines.jobs:list_versions")
        return versions

    @property
    def _companion(self) -> Companion:
        return self._stack.enter_context(keep_process())

    def _ask(self, job: str, model: "keras.Model", **arguments: Any) -> Any:
        return self._companion.ask(f"engines.jobs:{job}", **self._send(model), **arguments)

    def _send(self, model: "keras.Model") -> dict[str, Any]:
        """Returns the arguments by which the other process opens a model. A model is written only once."""
        if self._sent is None or self._sent[0] is not model:
            path = Path(tempfile.mkdtemp(dir=self._folder)) / MODEL
            self._sent = model, {"model": path, "objects": pack_model(model, path)}
        return self._sent[1]


def _detach(endpoint: Endpoint) -> bytes:
    """Pickles an endpoint without its model. Numbers replace the tensors in its structure, whose order is enough."""
    signature = replace(endpoint.signature, structure=_number(endpoint.signature.structure))
    return pickle.dumps(replace(endpoint, model=None, signature=signature, _compiled={}))


def _number(structure: Any) -> Any:
    from keras import tree

    return tree.pack_sequence_as(structure, list(range(len(tree.flatten(structure)))))
