"""Reads the tables in which a traced function looks up integers and text; TensorFlow holds them outside the graph."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.python.framework.func_graph import FuncGraph


def read_tables(graph: "FuncGraph") -> "Iterator[tuple[tf.Operation, np.ndarray, np.ndarray]]":
    """Yields each operation of a graph that finds an integer for an integer or a text, with the keys and the values."""
    import tensorflow as tf

    tables = {inner.name: table for table, inner in graph.captures}
    for operation in graph.get_operations():
        if operation.type != "LookupTableFindV2" or operation.inputs[0].name not in tables:
            continue
        kind = operation.get_attr("Tin")
        if kind in (tf.int64, tf.string) and operation.get_attr("Tout") == tf.int64:
            table = tables[operation.inputs[0].name]
            entries = tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=kind, Tvalues=tf.int64)
            yield operation, entries.keys.numpy(), entries.values.numpy()
