"""Reads the tables in which a traced function looks integers up; TensorFlow holds them outside of the graph."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.python.framework.func_graph import FuncGraph


def read_tables(graph: "FuncGraph") -> "Iterator[tuple[tf.Operation, np.ndarray, np.ndarray]]":
    """Yields each operation of a graph that looks integers up to find integers, with the keys and the values."""
    import tensorflow as tf

    tables = {inner.name: table for table, inner in graph.captures}
    for operation in graph.get_operations():
        if operation.type != "LookupTableFindV2" or operation.inputs[0].name not in tables:
            continue
        kinds = operation.get_attr("Tin"), operation.get_attr("Tout")
        if kinds == (tf.int64, tf.int64):
            table = tables[operation.inputs[0].name]
            entries = tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=tf.int64, Tvalues=tf.int64)
            yield operation, entries.keys.numpy(), entries.values.numpy()
