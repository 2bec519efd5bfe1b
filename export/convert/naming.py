"""Names nodes, values and constants after the layers that they belong to, in an order that depends on the graph alone.

    node      block1/conv/convolution    the layer, and TensorFlow's operation in it
    value     block1/conv/convolution    the node that computes it; its second value ends with :1
    constant  block1/conv/convolution/W  the first node that takes it, and the name of that input

TensorFlow's names begin with the name of the model. The converter numbers the operations that it adds. They are named
after what they do, in the scope of their old name, or else of one of their inputs. So every conversion of a model gives
the same bytes.
"""

import re
from collections.abc import Iterable, Set
from itertools import count
from typing import TYPE_CHECKING

from .graph import apply_names, replace_entries, subgraphs, walk_graph, walk_node

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_COUNTED = re.compile(r"(__\d+)+$")
# The converter puts the name of a function before those of the operations that it takes out of it.
_FUNCTION = re.compile(r"^\w+_frozen_\d+_")


def name_by_layers(model: "ModelProto", root: str, traced: Iterable[str]) -> None:
    """Orders the nodes of a model, and names everything in it except for inputs and outputs.

    Args:
        model: The model.
        root: The scope with which TensorFlow's names begin.
        traced: The names of TensorFlow's operations; operations that the converter adds get other names.
    """
    graph = model.graph
    _order(graph)
    kept = [value.name for value in (*graph.input, *graph.output)]
    names = _Names(kept, f"{root}/", traced)
    names.name_nodes(graph)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    names.name_constants(graph, versions)
    apply_names(graph, names.new)
    first: dict[str, int] = {}
    for node in walk_graph(graph):
        for name in node.input:
            first.setdefault(name, len(first))
    replace_entries(graph.initializer, sorted(graph.initializer, key=lambda constant: first.get(constant.name, -1)))


def tensorflow_names(name: str, root: str) -> list[str]:
    """Returns the names that a value may have in TensorFlow's graph."""
    plain = name if re.search(r":\d+$", name) else f"{name}:0"
    return [f"{root}/{plain}", plain]


def _order(graph: "GraphProto") -> None:
    """Sorts nodes so that each follows those that it needs, in the order in which it takes their results."""
    for node in graph.node:
        for inner in subgraphs(node):
            _order(inner)
    nodes = list(graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output}
    ends = [makers[value.name] for value in graph.output if value.name in makers]
    order: dict[int, None] = {}
    waiting = [*range(len(nodes))[::-1], *ends[::-1]]
    while waiting:
        at = waiting[-1]
        taken = [name for inner in walk_node(nodes[at]) for name in inner.input]
        missing = [
            makers[name] for name in taken if name in makers and makers[name] != at and makers[name] not in order
        ]
        if missing and at not in order:
            waiting.extend(dict.fromkeys(missing[::-1]))
        else:
            order.setdefault(waiting.pop())
    replace_entries(graph.node, [nodes[i] for i in order])


class _Names:
    """The new names of values, by their old ones."""

    def __init__(self, kept: list[str], root: str, traced: Iterable[str]) -> None:
        self.new = {name: name for name in kept}
        self.taken = set(kept)
        self.nodes: set[str] = set()
        self.root = root
        self.traced = {name.removeprefix(root) for name in traced}
        self.scopes: dict[str, str] = {}

    def name_nodes(self, graph: "GraphProto", around: str = "") -> None:
        """Names the nodes of a graph, and those of the graphs inside them."""
        for node in graph.node:
            node.name = self._name_node(node, around)
            for inner in subgraphs(node):
                inner.name = node.name
                for value in inner.input:
                    self._rename(value.name, f"{node.name}/{_plain(value.name, '')}")
                self.name_nodes(inner, node.name)
            for i, value in enumerate(node.output):
                if value:
                    self._rename(value, f"{node.name}:{i}" if i else node.name)
                    self.scopes[value] = node.name.rpartition("/")[0]

    def _name_node(self, node: "NodeProto", around: str) -> str:
        own = next((name for name in node.output if name and self.new.get(name) != name), node.name)
        base = _plain(own, self.root)
        if base and not _COUNTED.search(re.sub(r":\d+$", "", own)):
            return _free(base, self.nodes)
        near = (self.scopes[name] for name in node.input if self.scopes.get(name))
        scope = base.rpartition("/")[0] or next(near, around)
        return _free(f"{scope}/{node.op_type}" if scope else node.op_type, self.nodes, self.traced)

    def name_constants(self, graph: "GraphProto", versions: dict[str, int]) -> None:
        """Names constants after the first node that takes them."""
        for node in walk_graph(graph):
            for i, name in enumerate(node.input):
                if name and name not in self.new:
                    self._rename(name, f"{node.name}/{_input_name(node, i, versions)}")
        for constant in graph.initializer:
            if constant.name not in self.new:
                self._rename(constant.name, _plain(constant.name, self.root))

    def _rename(self, old: str, wanted: str) -> None:
        if old not in self.new:
            self.new[old] = _free(wanted, self.taken)


def _free(wanted: str, taken: set[str], others: Set[str] = frozenset()) -> str:
    """Returns a free name, and marks it as taken."""
    names = (f"{wanted}__{i}" if i else wanted for i in count())
    name = next(free for free in names if free not in taken and free not in others)
    taken.add(name)
    return name


def _plain(name: str, root: str) -> str:
    """Returns a name without the function of a loop, the model, the converter's count and the index of the value."""
    name = _FUNCTION.sub("", re.sub(r":\d+$", "", name)).removeprefix(root)
    return _COUNTED.sub("", name)


def _input_name(node: "NodeProto", index: int, versions: dict[str, int]) -> str:
    """Returns the name of an input of an operation."""
    import onnx

    domain = "" if node.domain == "ai.onnx" else node.domain
    if not onnx.defs.has(node.op_type, versions.get(domain, 1), domain):
        return f"input{index}"
    inputs = onnx.defs.get_schema(node.op_type, versions.get(domain, 1), domain).inputs
    return str(inputs[min(index, len(inputs) - 1)].name)
