"""Counts the operations of an ONNX model, and refuses those that may not be in it."""

from collections import Counter
from typing import TYPE_CHECKING

from ..errors import ExportError
from .graph import walk_graph

if TYPE_CHECKING:
    from onnx import ModelProto

# A graph for inference computes the same thing each time.
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_DOMAINS = {"ai.onnx", "ai.onnx.ml", "com.microsoft"}
# How often each operation occurs, by the domain and the name of the operation.
Counts = dict[str, dict[str, int]]


def count_operations(model: "ModelProto") -> Counts:
    """Counts the operations of a model by domain, those in inner graphs and functions included."""
    graphs = [model.graph, *model.functions]
    counts = Counter((node.domain or "ai.onnx", node.op_type) for graph in graphs for node in walk_graph(graph))
    found: Counts = {}
    for (domain, name), count in sorted(counts.items()):
        found.setdefault(domain, {})[name] = count
    return found


def check_operations(found: Counts) -> None:
    """Raises an ExportError if an operation is random, or of a domain that not every onnxruntime has."""
    foreign = [f"{domain}.{name}" for domain, names in found.items() for name in names if domain not in _DOMAINS]
    refused = [*foreign, *(name for name in found.get("ai.onnx", {}) if name in _RANDOM)]
    if refused:
        raise ExportError(f"Expected deterministic operations of ONNX and onnxruntime. Received: {', '.join(refused)}")
