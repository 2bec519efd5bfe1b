"""Finds the first tensor, in the order of the graph, that two computations have in common and that differs.

The names of TensorFlow's tensors follow from those of the ONNX graph, so the tensors of the traced Keras model match
those of the graph. Equal tensors may have their channels first or last. onnxruntime keeps the names of tensors that it
does not fuse.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..model.endpoint import Endpoint
from ..runtime.processes import PLAIN, Form, run_tasks
from ..runtime.worker import ANSWER, TENSORS
from ..storage.arrays import Batch, read_batches
from .layouts import find_layout

# As a share of the largest value of a tensor: far above rounding, and far below a fault.
_RELATIVE = 1e-3


def find_difference_from_keras(endpoint: Endpoint, model: Path, batch: Batch) -> str:
    """Names the first tensor of an ONNX file, not optimised, that differs from that of the traced Keras model."""
    order, (received,) = _run_with_tensors(model, batch, [PLAIN])
    return _describe_first(order, _trace_tensors(endpoint, batch, order), received, "Keras")


def find_difference_from_plain(model: Path, batch: Batch, form: Form) -> str:
    """Names the first tensor that onnxruntime computes differently in a form than without optimisation."""
    order, (expected, received) = _run_with_tensors(model, batch, [PLAIN, form])
    return _describe_first(order, expected, received, PLAIN.name)


def _describe_first(order: Mapping[str, str], expected: Batch, received: Batch, reference: str) -> str:
    compared = 0
    for name, operation in order.items():
        if name not in expected or name not in received or expected[name].dtype.kind != "f":
            continue
        difference, scale = (
            _measure_difference(expected[name], received[name]),
            float(np.max(np.abs(expected[name]), initial=0)),
        )
        if difference is None:
            continue
        compared += 1
        if not difference <= _RELATIVE * scale + 1e-6:
            return (
                f"The first tensor that differs from {reference} is {name} ({operation}), "
                f"by {difference:.3g} where the largest value is {scale:.3g}."
            )
    return f"None of the {compared} tensors inside the graph that can be matched with {reference} differs."


def _measure_difference(expected: np.ndarray, received: np.ndarray) -> float | None:
    """Returns the largest difference in the layout that fits best; None if no layout fits."""
    nearest = find_layout(received, expected)
    return None if nearest is None else float(np.max(np.abs(expected - nearest), initial=0))


def _run_with_tensors(model: Path, batch: Batch, forms: Sequence[Form]) -> tuple[dict[str, str], list[Batch]]:
    """Returns the operation of each tensor in the order of the graph, and the values of the tensors in each form."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    order = {name: node.op_type for node in graph.node for name in node.output}
    tasks = [(TENSORS, {"model": str(model), "device": form.device, "optimise": form.optimise}) for form in forms]
    with tempfile.TemporaryDirectory(prefix="keras-skip-") as folder:
        run_tasks(Path(folder), tasks, [form.name for form in forms], {"": batch})
        return order, [read_batches(Path(folder) / f"{ANSWER}-{i}")[""] for i in range(len(forms))]


def _trace_tensors(endpoint: Endpoint, batch: Batch, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    from ..convert.naming import tensorflow_names
    from ..model.tracing import inline_calls, name_by_layers

    with inline_calls(), name_by_layers(), tf.device("/CPU:0"):
        wrapped = tf.compat.v1.wrap_function(endpoint.__call__, endpoint.tensor_specs())
        there = {t.name: t for op in wrapped.graph.get_operations() for t in op.outputs}
        root = endpoint.model.name
        places = {name: [there[own] for own in tensorflow_names(name, root) if own in there] for name in names}
        fetched = {name: found[0] for name, found in places.items() if found}
        feeds = [there[f"{raw.name}:0"] for raw in endpoint.inputs]
        values = wrapped.prune(feeds, list(fetched.values()))(
            *[tf.constant(batch[raw.name]) for raw in endpoint.inputs]
        )
    return {name: value.numpy() for name, value in zip(fetched, values, strict=True)}
