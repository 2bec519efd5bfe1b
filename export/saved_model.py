"""A Keras model as a TensorFlow SavedModel: one endpoint, `serve`, with the model's inputs and outputs by name."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ._inputs import Batch
from ._publish import published
from ._served import Served, served
from ._tracing import tracing
from .errors import ExportError, VerificationError, in_one_line
from .preprocessing import Preprocessing

# Of TensorFlow's operations with a state, those that keep it within the model; the others read and write files, print,
# or call Python.
_WITHIN = {
    *("Assert", "NoOp", "Placeholder", "Case", "If", "While", "PartitionedCall", "StatefulPartitionedCall"),
    *("AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp", "ReadVariableOp", "VarHandleOp"),
    *("ResourceGather", "ResourceGatherNd", "VarIsInitializedOp", "VariableShape"),
    *("HashTableV2", "MutableHashTableV2", "LookupTableFindV2", "LookupTableImportV2", "LookupTableSizeV2"),
    *("Multinomial", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal"),
}


def to_saved_model(
    model: Any,
    path: str | Path,
    *,
    preprocessing: Preprocessing | dict[str, Any] | None = None,
    activation: str | None = None,
    layout: str | None = None,
    samples: Any = None,
    overwrite: bool = False,
) -> Path:
    """Writes the model, for inference, as a SavedModel.

    A model under a half-precision policy is written in float32, with the same weights. Inputs and outputs have the
    model's names; where Keras made a name up, a single one is called "input" or "output".

    Args:
        model: A Keras model.
        path: The folder to make.
        preprocessing: Put before a model with one input; None leaves its input as it is.
        activation: Put after a model with one output, which is then called "probabilities": "softmax", "sigmoid" or
            None.
        layout: Where images have their channels: "nhwc", "nchw" or None, as the model has them.
        samples: An example of what the model takes, if it has never seen an input.
        overwrite: Whether a SavedModel already there may be replaced.

    Returns:
        The folder.

    Raises:
        FileExistsError: If something is there already.
        ExportError: If the model cannot be exported.
        ValueError: If an argument is not usable.

    Example:
        >>> to_saved_model(model, "classifier")
        >>> tf.saved_model.load("classifier").serve(images)["output"]
    """
    function = served(model, preprocessing, activation, layout, samples)
    with published(path, overwrite, lambda target: (target / "saved_model.pb").is_file()) as building:
        write_saved_model(function, building)
    return Path(path)


def write_saved_model(function: Served, path: Path) -> None:
    """Writes a served function to a path where nothing is."""
    from keras.export import ExportArchive

    archive = ExportArchive()
    archive.track(function.model)
    with tracing(function):
        endpoint = archive.add_endpoint("serve", function.__call__, input_signature=function.tensor_specs())
        endpoint.get_concrete_function()
    try:
        archive.write_out(str(path), verbose=False)
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"Expected a model that TensorFlow can save. Received: {function.model.name}, "
            f"of which it says {in_one_line(error)}"
        ) from error


def check_saved_model(path: Path) -> None:
    """Raises a VerificationError unless all that loading and calling a SavedModel runs is computing.

    A SavedModel is a program: its operations may write files, and some run when it is loaded.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import op_def_registry

    program = saved_model_pb2.SavedModel()
    try:
        program.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise VerificationError(f"Expected a SavedModel. Received: {path} ({error})") from error
    for graph in program.meta_graphs:
        if not graph.HasField("object_graph_def"):
            raise VerificationError(f"Expected a SavedModel of TensorFlow 2. Received: {path}, of TensorFlow 1")
        for node in _operations(graph):
            known = op_def_registry.get(node.op)
            if known is None or node.op.startswith("Debug") or (known.is_stateful and node.op not in _WITHIN):
                raise VerificationError(
                    f"Expected a SavedModel that only computes. Received: {path}, whose {node.name} is {node.op}"
                )


def _operations(graph: Any) -> Iterator[Any]:
    """What the functions of a SavedModel's objects run, and the functions that those call."""
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    waiting, seen = list(graph.object_graph_def.concrete_functions), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in functions.get(name, ()):
            waiting += [f.name for value in node.attr.values() for f in (value.func, *value.list.func)]
            # A function may be called as if it were an operation.
            if node.op in functions:
                waiting.append(node.op)
            else:
                yield node


def saved_model_runner(path: Path) -> Callable[[Batch], Batch]:
    """Loads a SavedModel written here, as a callable from batch to batch."""
    import tensorflow as tf

    # On a GPU TensorFlow may use TF32, which is coarser than what is to be proven.
    with tf.device("/CPU:0"):
        loaded = tf.saved_model.load(str(path))
    endpoint = loaded.signatures["serving_default"]

    def run(batch: Batch) -> Batch:
        with tf.device("/CPU:0"):
            given = endpoint(**{name: tf.constant(x) for name, x in batch.items()})
            return {name: y.numpy() for name, y in given.items()}

    # A signature is only borrowed from the object it belongs to.
    run.loaded = loaded  # type: ignore[attr-defined]
    return run
