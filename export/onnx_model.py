"""A Keras model as an ONNX file, through tf2onnx, which is not trusted: it logs what it cannot convert and goes on.

Here every node of the result must be an operation of the opset, nothing may have been logged as an error, and onnx's
own checker must agree. The default opset is 17: up to it global average pooling stays one operation, at 18 it falls
apart, and tf2onnx goes no further.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ._dimensions import named
from ._graph import all_nodes, rename_values
from ._inputs import zeros
from ._isolated import PLAIN, run_forms
from ._publish import published
from ._served import Served, served
from .errors import ExportError
from .preprocessing import Preprocessing

OPSETS = range(13, 19)
DEFAULT_OPSET = 17
_INSIDE = "keras_skip_"


def to_onnx(
    model: Any,
    path: str | Path,
    *,
    opset: int = DEFAULT_OPSET,
    preprocessing: Preprocessing | dict[str, Any] | None = None,
    activation: str | None = None,
    layout: str | None = None,
    samples: Any = None,
    overwrite: bool = False,
) -> Path:
    """Writes the model, for inference, as an ONNX file with a dynamic batch.

    A model under a half-precision policy is written in float32, with the same weights. Inputs and outputs have the
    model's names; where Keras made a name up, a single one is called "input" or "output". Dynamic dimensions are named:
    "batch", "height" and "width" of images, "length" of sequences.

    Args:
        model: A Keras model.
        path: The file to write.
        opset: The version of ONNX's operations, 13 to 18.
        preprocessing: Put before a model with one input; None leaves its input as it is.
        activation: Put after a model with one output, which is then called "probabilities": "softmax", "sigmoid" or
            None.
        layout: Where images have their channels: "nhwc", "nchw" or None, as the model has them.
        samples: An example of what the model takes, if it has never seen an input.
        overwrite: Whether a file already there may be replaced.

    Returns:
        The file.

    Raises:
        FileExistsError: If something is there already.
        ExportError: If an operation cannot be converted; the message names it, and no file is left.
        ValueError: If an argument is not usable.

    Example:
        >>> to_onnx(model, "classifier.onnx")
        >>> onnxruntime.InferenceSession("classifier.onnx").run(["output"], {"input": images})
    """
    function = served(model, preprocessing, activation, layout, samples)
    with published(path, overwrite, Path.is_file) as building:
        write_onnx(function, building, opset)
    return Path(path)


def write_onnx(function: Served, path: Path, opset: int) -> None:
    """Writes a served function to a path where nothing is; the checker has seen it and onnxruntime has run it."""
    if opset not in OPSETS:
        raise ValueError(f"Expected opset to be between {OPSETS[0]} and {OPSETS[-1]}. Received: opset={opset!r}")
    import onnx

    onnx.save(_convert(function, opset), path)
    check_onnx(path)
    # The checker lets pass what only shows when it runs, such as the wrong number of groups.
    run_forms(path, {"zeros": zeros(function.inputs)}, (PLAIN,))


def check_onnx(path: Path) -> Any:
    """Reads an ONNX file and runs onnx's checker, type and shape inference included.

    Returns:
        The model.

    Raises:
        ExportError: If the file is not a valid model.
    """
    import onnx

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"Expected a model that onnx's checker accepts. Received: {path.name} ({error})") from error
    return model


def describe_onnx(path: Path) -> dict[str, Any]:
    """What an artifact says of its ONNX file."""
    model = check_onnx(path)
    return {
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".removesuffix(" None"),
    }


def _convert(function: Served, opset: int) -> Any:
    import tensorflow as tf

    # Names of our own on the way, since the converter confuses what is named alike; the model's come last.
    inside = {f"{_INSIDE}x{i}": raw.name for i, raw in enumerate(function.inputs)}
    outside = {f"{_INSIDE}y{i}": name for i, name in enumerate(function.outputs)}
    specs = [tf.TensorSpec(raw.shape, raw.dtype, name) for name, raw in zip(inside, function.inputs, strict=True)]

    def call(*tensors: Any) -> dict[str, Any]:
        return dict(zip(outside, function(*tensors).values(), strict=True))

    traced = tf.function(call, input_signature=specs)
    with _inlined(), _logged_errors() as errors:
        from tf2onnx import convert

        _refuse_bfloat16(traced.get_concrete_function().graph.as_graph_def())
        try:
            model, _ = convert.from_function(traced, input_signature=specs, opset=opset)
        except Exception as error:
            raise ExportError(_sentence(opset, [*errors, str(error)])) from error
    unknown = sorted(set(_unknown_operations(model.graph, {o.domain: o.version for o in model.opset_import})))
    if unknown or errors:
        raise ExportError(_sentence(opset, unknown or errors))
    model.graph.name = function.model.name
    rename_values(model.graph, inside | outside)
    in_order = sorted(model.graph.output, key=lambda value: function.outputs.index(value.name))
    del model.graph.output[:]
    model.graph.output.extend(in_order)
    return named(model, function)


def _sentence(opset: int, received: list[str]) -> str:
    return f"Expected operations that can be converted to ONNX opset {opset}. Received: {'; '.join(received)}"


def _unknown_operations(graph: Any, versions: dict[str, int]) -> Iterator[str]:
    import onnx

    for node in all_nodes(graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if not onnx.defs.has(node.op_type, max_inclusive_version=versions.get(domain, 0), domain=domain):
            yield f"{node.op_type} ({node.name})"


def _refuse_bfloat16(graph: Any) -> None:
    from tensorflow.core.framework import types_pb2

    nodes: Iterable[Any] = (*graph.node, *(node for f in graph.library.function for node in f.node_def))
    narrow = [f"{n.op} ({n.name})" for n in nodes if any(a.type == types_pb2.DT_BFLOAT16 for a in n.attr.values())]
    if narrow:
        raise ExportError(f"Expected no bfloat16, which would silently become float16. Received: {'; '.join(narrow)}")


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Keeps tf2onnx's log off the terminal and collects what it logs as errors."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collector = logging.getLogger("tf2onnx"), Collector(logging.ERROR)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield messages
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate


@contextmanager
def _inlined() -> Iterator[None]:
    """Traces functions inside the function in place.

    Keras compiles some convolutions by themselves, grouped ones and volumes with channels first, and tf2onnx cannot
    look into such calls.
    """
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
