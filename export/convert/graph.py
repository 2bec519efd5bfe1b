"""Walks and edits ONNX graphs, including those inside Loop, Scan and If."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
    from google.protobuf.message import Message
    from onnx import GraphProto, ModelProto, NodeProto

# In bytes. Constants from which shapes are computed are smaller.
_LARGE = 2**16


def subgraphs(node: "NodeProto") -> Iterator["GraphProto"]:
    """Yields the graphs that are attributes of a node."""
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def walk_graph(graph: "GraphProto") -> Iterator["NodeProto"]:
    """Yields every node, and the nodes of inner graphs after the node that holds them."""
    for node in graph.node:
        yield from walk_node(node)


def walk_node(node: "NodeProto") -> Iterator["NodeProto"]:
    """Yields a node and the nodes of the graphs inside it."""
    yield node
    for inner in subgraphs(node):
        yield from walk_graph(inner)


def collect_inputs(nodes: Iterable["NodeProto"]) -> set[str]:
    """Returns the names of the inputs of nodes and of the nodes inside them."""
    return {name for node in nodes for inner in walk_node(node) for name in inner.input}


def replace_entries(field: "RepeatedCompositeFieldContainer", values: Iterable["Message"]) -> None:
    """Replaces the entries of a repeated field, which may keep some of them."""
    values = list(values)
    del field[:]
    field.extend(values)


def rename_values(graph: "GraphProto", names: Mapping[str, str]) -> None:
    """Renames values everywhere; other values that have one of the new names get another name."""
    taken = {name for node in walk_graph(graph) for name in (*node.input, *node.output)}
    taken |= {initializer.name for initializer in graph.initializer}
    moved = {new: _free_name(new, taken | set(names.values())) for new in names.values() if new in taken - set(names)}
    apply_names(graph, {**moved, **names})


def _free_name(name: str, taken: set[str]) -> str:
    return next(free for i in range(len(taken) + 1) if (free := f"{name}__{i}") not in taken)


def apply_names(graph: "GraphProto", names: Mapping[str, str]) -> None:
    """Renames values everywhere; names that are not in the mapping stay."""
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in subgraphs(node):
            apply_names(inner, names)


def sort_nodes(graph: "GraphProto") -> None:
    """Sorts nodes so that each follows those whose results it takes; otherwise the order stays."""
    nodes = list(graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output}
    order: dict[int, None] = {}
    waiting = list(range(len(nodes)))[::-1]
    while waiting:
        at = waiting[-1]
        needed = {makers[name] for name in collect_inputs([nodes[at]]) if name in makers} - {at}
        missing = [i for i in sorted(needed, reverse=True) if i not in order]
        if missing and at not in order:
            waiting.extend(missing)
        else:
            order.setdefault(waiting.pop())
    replace_entries(graph.node, (nodes[i] for i in order))


def infer_shapes(model: "ModelProto") -> "GraphProto":
    """Returns the graph of a model with the shapes that onnx infers.

    Large constants go without their values, since only their shapes matter: onnx copies the model twice, and refuses
    models above 2 GB.
    """
    from onnx import TensorProto, helper, shape_inference

    graph = model.graph
    constants = [
        TensorProto(name=i.name, dims=i.dims, data_type=i.data_type) if len(i.raw_data) > _LARGE else i
        for i in graph.initializer
    ]
    graph = helper.make_graph(graph.node, graph.name, graph.input, graph.output, constants, value_info=graph.value_info)
    about = {"ir_version": model.ir_version, "opset_imports": model.opset_import, "functions": model.functions}
    return shape_inference.infer_shapes(helper.make_model(graph, **about)).graph
