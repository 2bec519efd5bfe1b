"""What onnxruntime makes of a graph, and what should not be left in it."""

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime

# What a raw input may pass before the one Transpose.
POINTWISE = {"Cast", "Mul", "Sub", "Div", "Add", "Unsqueeze", "Reshape"}


def optimised(path: Path) -> onnx.GraphProto:
    """The graph after onnxruntime's optimisation; what it does to layouts for one processor alone is left out."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path.with_suffix(".optimised.onnx"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(options.optimized_model_filepath).graph
    Path(options.optimized_model_filepath).unlink()
    return graph


def left_over(path: Path, transposes: int = 1) -> list[str]:
    """Names every node that could have been avoided."""
    graph = optimised(path)
    consumers = Counter(name for node in graph.node for name in node.input)
    makers = {name: node for node in graph.node for name in node.output}
    constants = {initializer.name for initializer in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type in ("BatchNormalization", "Identity"):
            found.append(f"{node.op_type} {node.name}")
        if node.op_type == "Transpose":
            transposes -= 1
            if transposes < 0 or not at_input(node, makers, {value.name for value in graph.input}, constants):
                found.append(f"{node.op_type} {node.name}")
        if node.op_type in ("Mul", "Add") and constants & set(node.input):
            (fed,) = set(node.input) - constants or {""}
            # What another branch takes as well cannot be absorbed.
            if fed in makers and makers[fed].op_type == "Conv" and consumers[fed] == 1:
                found.append(f"{node.op_type} {node.name} after {makers[fed].name}")
    return found


def at_input(node: onnx.NodeProto, makers: dict, inputs: set[str], constants: set[str]) -> bool:
    fed = [name for name in node.input if name not in constants]
    if len(fed) != 1:
        return False
    if fed[0] in inputs:
        return True
    maker = makers.get(fed[0])
    return maker is not None and maker.op_type in POINTWISE and at_input(maker, makers, inputs, constants)
