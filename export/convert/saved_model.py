"""Writes, checks and loads a SavedModel with one endpoint, `serve`, which takes and gives tensors by name."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError, VerificationError, error_line
from ..model.endpoint import Endpoint
from ..model.tracing import guard_tracing
from ..storage.arrays import Batch
from ..storage.manifest import list_files
from .tensorflow_operations import COMPUTING, STORING

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

# The files of a SavedModel that is written here. TensorFlow would load other forms of the program first, unchecked.
_FILES = re.compile(r"saved_model\.pb|fingerprint\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})")


def write_saved_model(endpoint: Endpoint, path: Path) -> None:
    """Writes an endpoint to a new folder."""
    from keras.export import ExportArchive

    archive = ExportArchive()
    archive.track(endpoint.model)
    with guard_tracing(endpoint):
        serve = archive.add_endpoint("serve", endpoint.__call__, input_signature=endpoint.tensor_specs())
        serve.get_concrete_function()
    try:
        archive.write_out(str(path), verbose=False)
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"Expected a model that TensorFlow can save. Received: {endpoint.model.name}, "
            f"for which it raised {error_line(error)}"
        ) from error
    if found := _find_foreign(_read_program(path)):
        raise ExportError(f"Expected a model that only computes. Received: {endpoint.model.name}, whose {found}")


def check_saved_model(path: Path) -> None:
    """Raises a VerificationError unless a SavedModel only computes when it is loaded and called.

    A SavedModel is a program whose operations may read and write files, and some run when it is loaded. So it may hold
    only known files and known operations, whether they are called or not.
    """
    if unknown := find_unknown(path):
        raise VerificationError(f"Expected the files of a SavedModel. Received: {path}, with {', '.join(unknown)}")
    if found := _find_foreign(_read_program(path)):
        raise VerificationError(f"Expected a SavedModel that only computes. Received: {path}, whose {found}")


def find_unknown(path: Path) -> list[str]:
    """The files in a folder that a SavedModel does not have."""
    return [name for name in list_files(path) if not _FILES.fullmatch(name)]


def _read_program(path: Path) -> "MetaGraphDef":
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    program = saved_model_pb2.SavedModel()
    try:
        program.ParseFromString((path / "saved_model.pb").read_bytes())
    except (DecodeError, FileNotFoundError) as error:
        raise VerificationError(f"Expected a SavedModel. Received: {path} ({error})") from error
    if len(program.meta_graphs) != 1 or not program.meta_graphs[0].HasField("object_graph_def"):
        raise VerificationError(f"Expected a SavedModel of TensorFlow 2. Received: {path}, of TensorFlow 1")
    return program.meta_graphs[0]


def _find_foreign(program: "MetaGraphDef") -> str | None:
    """Returns the first part of a SavedModel that does more than compute, or None."""
    if program.asset_file_def:
        return f"asset is {program.asset_file_def[0].filename}"
    return next(
        (f"{node.name} is {node.op}" for node, known in _list_operations(program) if node.op not in known), None
    )


def _list_operations(program: "MetaGraphDef") -> Iterator[tuple["NodeDef", frozenset[str]]]:
    """Yields every operation of a SavedModel, with the operations that are allowed there.

    That includes operations that only TensorFlow 1 runs, and functions that nothing calls, since TensorFlow computes
    constants when it builds them.
    """
    from tensorflow.python.framework import op_def_registry

    main, functions = program.graph_def.node, {f.signature.name: f.node_def for f in program.graph_def.library.function}
    saver = {program.saver_def.save_tensor_name.partition(":")[0], program.saver_def.restore_op_name}
    if any(name.lstrip("^").partition(":")[0] in saver for node in main for name in node.input):
        saver = set()
    called = {name for node in main if node.name not in saver for name in _called_functions(node)}
    called |= {name for nodes in functions.values() for node in nodes for name in _called_functions(node)}
    called |= set(program.object_graph_def.concrete_functions)
    storing = {name for node in main if node.name in saver for name in _called_functions(node)} - called
    # A function may be called like an operation, but may not have the name of one.
    computing = COMPUTING | {name for name in functions if op_def_registry.get(name) is None}
    for node in main:
        yield node, computing
    for name, nodes in functions.items():
        for node in nodes:
            yield node, STORING if name in storing else computing


def _called_functions(node: "NodeDef") -> set[str]:
    return {node.op, *(f.name for value in node.attr.values() for f in (value.func, *value.list.func))}


def load_saved_model(path: Path) -> Callable[[Batch], Batch]:
    """Loads a SavedModel that was written here, as a function from batch to batch."""
    import tensorflow as tf

    # On a GPU TensorFlow may use TF32, which is coarser than the tolerances.
    with tf.device("/CPU:0"):
        loaded = tf.saved_model.load(str(path))
    endpoint = loaded.signatures["serving_default"]

    def run(batch: Batch) -> Batch:
        with tf.device("/CPU:0"):
            given = endpoint(**{name: tf.constant(x) for name, x in batch.items()})
            return {name: y.numpy() for name, y in given.items()}

    # A signature does not keep the object alive that it belongs to.
    run.loaded, run.endpoint = loaded, endpoint  # type: ignore[attr-defined]
    return run


def saved_model_tensors(run: Any) -> dict[str, list[tuple[str, str, tuple[int | None, ...]]]]:
    """Returns the name, type and shape of the inputs and outputs of a function of `load_saved_model`."""
    sides = {"inputs": run.endpoint.structured_input_signature[1], "outputs": run.endpoint.structured_outputs}
    return {
        kind: [(name, spec.dtype.name, tuple(spec.shape.as_list())) for name, spec in specs.items()]
        for kind, specs in sides.items()
    }
