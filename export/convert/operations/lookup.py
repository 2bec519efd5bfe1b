"""Converts look-ups in tables of integers to ai.onnx.ml's LabelEncoder.

    lookup(x) = the value of the key x, or the default if there is no such key

IntegerLookup is made of it. TensorFlow holds a table outside of the graph, so its entries become attributes of the
operation before the graph is translated.
"""

from typing import TYPE_CHECKING

from ...model.vocabulary import read_tables
from .building import Rewrite, replace_node

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.types.experimental import ConcreteFunction
    from tf2onnx.graph import Graph, Node

_KEYS, _VALUES = "_keras_skip_keys", "_keras_skip_values"


def convert_lookup(graph: "Graph", node: "Node") -> None:
    """Converts LookupTableFindV2 of a table with known entries."""
    keys, values = (node.get_attr_value(name) for name in (_KEYS, _VALUES))
    default = node.inputs[2]
    if keys is None or not default.is_const():
        return
    about = {"keys_int64s": keys, "values_int64s": values, "default_int64": int(default.get_tensor_value())}
    replace_node(graph, node, "LabelEncoder", node.input[1], domain="ai.onnx.ml", **about)


def store_tables(graph: "GraphDef", concrete: "ConcreteFunction") -> None:
    """Stores the entries of the tables of a function in its graph, with the operations that look something up."""
    nodes = {node.name: node for node in graph.node}
    for operation, *entries in read_tables(concrete.graph):
        if (node := nodes.get(operation.name)) is not None:
            for name, values in zip((_KEYS, _VALUES), entries, strict=True):
                node.attr[name].list.i.extend(values.tolist())
            # Without the table TensorFlow does not know that the result has the shape of the keys.
            node.attr["_output_shapes"].list.shape.append(operation.outputs[0].shape.as_proto())


REWRITES: dict[str, Rewrite] = {"LookupTableFindV2": convert_lookup}
