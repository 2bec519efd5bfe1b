"""Converts resizing between known sizes, by methods that ONNX lacks or computes differently, to matrix products.

    resized(x) = A x B'        for each channel, where A and B are what TensorFlow makes of unit matrices

onnxruntime's cubic differs from TensorFlow's, which reads its weights from a table, by 2e-3 of the largest value.
Antialiased and Lanczos resizing have no operation of their own.
"""

from typing import TYPE_CHECKING

import numpy as np

from .building import Rewrite, apply, constant_like, replace_node

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node


def convert_resize(graph: "Graph", node: "Node") -> None:
    """Converts ResizeBicubic and ScaleAndTranslate; a dynamic size is left to tf2onnx."""
    from onnx import TensorProto

    x = node.input[0]
    before = (graph.get_shape(x) or [-1] * 4)[1:3]
    if min(before) < 0 or not node.inputs[1].is_const():
        return
    sizes = list(node.inputs[1].get_tensor_value())
    if node.type == "ScaleAndTranslate" and not _fills(node, sizes, before):
        return
    if graph.get_dtype(x) != TensorProto.FLOAT:
        x = apply(graph, "Cast", x, to=TensorProto.FLOAT)
    height, width = (_resize_unit_matrix(node, *counts) for counts in zip(before, sizes, strict=True))
    channels_first = apply(graph, "Transpose", x, perm=[0, 3, 1, 2])
    across = apply(graph, "MatMul", channels_first, constant_like(graph, width.T, x))
    resized = apply(graph, "MatMul", constant_like(graph, height, x), across)
    replace_node(graph, node, "Transpose", resized, perm=[0, 2, 3, 1])


def _fills(node: "Node", sizes: list[int], before: list[int]) -> bool:
    """Whether ScaleAndTranslate makes the whole image fill the result, as tf.image.resize does."""
    scale, translation = node.inputs[2:]
    if not translation.is_const() or np.any(translation.get_tensor_value(as_list=False)):
        return False
    if scale.is_const():
        wanted = np.array(sizes, np.float32) / np.array(before, np.float32)
        return bool(np.array_equal(scale.get_tensor_value(as_list=False), wanted))
    # The size is divided by that of the image, which TensorFlow reads from the shape if the batch is dynamic.
    chain = [scale]
    while chain[-1].type in ("RealDiv", "Cast", "StridedSlice") and len(chain) < 4:
        chain.append(chain[-1].inputs[1 if chain[-1].type == "RealDiv" else 0])
    types = [maker.type for maker in chain]
    return types == ["RealDiv", "Cast", "StridedSlice", "Shape"] and chain[-1].input[0] == node.input[0]


def _resize_unit_matrix(node: "Node", before: int, after: int) -> np.ndarray:
    """Returns what the operation makes of each unit vector along one axis, whose place is the column."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph, tf.device("/CPU:0"):
        # Along the other axis there is one pixel, which stays.
        images = tf.reshape(tf.eye(before), (1, before, 1, before))
        if node.type == "ResizeBicubic":
            about = {name: bool(node.get_attr_value(name, 0)) for name in ("align_corners", "half_pixel_centers")}
            resized = tf.raw_ops.ResizeBicubic(images=images, size=[after, 1], **about)
        else:
            resized = tf.raw_ops.ScaleAndTranslate(
                images=images,
                size=[after, 1],
                scale=[np.float32(after) / np.float32(before), 1.0],
                translation=[0.0, 0.0],
                kernel_type=node.get_attr_str("kernel_type"),
                antialias=bool(node.get_attr_value("antialias", 1)),
            )
    with tf.compat.v1.Session(graph=graph) as session:
        return np.asarray(session.run(resized))[0, :, 0]


REWRITES: dict[str, Rewrite] = {"ResizeBicubic": convert_resize, "ScaleAndTranslate": convert_resize}
