"""Converts look-ups in tables of integers and texts to ai.onnx.ml's LabelEncoder.

    lookup(x) = the value of the key x, or the default if there is no such key
    x == c = 1 if x is the key c, or 0, for texts

IntegerLookup and StringLookup consist of these. TensorFlow holds tables outside the graph, so their entries become
attributes of the operations before the graph is translated.
"""

from typing import TYPE_CHECKING, Any

from ...model.vocabulary import read_tables
from .building import Rewrite, replace_node

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.types.experimental import ConcreteFunction
    from tf2onnx.graph import Graph, Node

_DOMAIN = "ai.onnx.ml"
_KEYS, _VALUES = "_keras_skip_keys", "_keras_skip_values"


def convert_lookup(graph: "Graph", node: "Node") -> None:
    """Converts LookupTableFindV2 of a table with known entries."""
    keys, values = (node.get_attr_value(name) for name in (_KEYS, _VALUES))
    default = node.inputs[2]
    if keys is None or not default.is_const():
        return
    about = {"values_int64s": values, "default_int64": int(default.get_tensor_value())}
    replace_node(graph, node, "LabelEncoder", node.input[1], domain=_DOMAIN, **_name_keys(keys), **about)


def convert_equal(graph: "Graph", node: "Node") -> None:
    """Converts Equal of texts and one constant, such as the mask of StringLookup."""
    from onnx import TensorProto

    _, text = node.inputs
    if graph.get_dtype(node.input[0]) != TensorProto.STRING or not text.is_const() or graph.get_shape(node.input[1]):
        return
    about = _name_keys([text.get_tensor_value()]) | {"values_int64s": [1], "default_int64": 0}
    found = graph.make_node("LabelEncoder", [node.input[0]], about, domain=_DOMAIN, dtypes=[TensorProto.INT64])
    graph.copy_shape(node.input[0], found.output[0])
    replace_node(graph, node, "Cast", found.output[0], to=TensorProto.BOOL)


def _name_keys(keys: list[Any]) -> dict[str, list[Any]]:
    return {"keys_int64s" if isinstance(keys[0], int) else "keys_strings": keys}


def store_tables(graph: "GraphDef", concrete: "ConcreteFunction") -> None:
    """Stores the entries of the tables of a function in its graph, with the operations that look something up."""
    nodes = {node.name: node for node in graph.node}
    for operation, keys, values in read_tables(concrete.graph):
        if (node := nodes.get(operation.name)) is not None and len(keys):
            stored = node.attr[_KEYS].list
            (stored.i if keys.dtype.kind == "i" else stored.s).extend(keys.tolist())
            node.attr[_VALUES].list.i.extend(values.tolist())
            # Without the table TensorFlow does not know that the result has the shape of the keys.
            node.attr["_output_shapes"].list.shape.append(operation.outputs[0].shape.as_proto())


REWRITES: dict[str, Rewrite] = {"Equal": convert_equal, "LookupTableFindV2": convert_lookup}
