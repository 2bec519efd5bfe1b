"""Infers the types of the inputs of a subclassed model.

Keras remembers the shapes on which the model was built, but not the types. An input holds integers or booleans if the
model casts it to them and to nothing else, as an embedding does.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# These operations take a tensor of any type; a mask compares it with 0.
_EITHER_WAY = {"Equal", "Identity", "NotEqual", "Shape"}


def infer_dtypes(model: "keras.Model", structure: Any) -> Any:
    """Returns a structure of float32 KerasTensors with the types that a model casts them to."""
    import keras
    import tensorflow as tf

    leaves = keras.tree.flatten(structure)
    specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in leaves]

    def call(*tensors: "tf.Tensor") -> None:
        model(keras.tree.pack_sequence_as(structure, list(tensors)), training=False)

    read = [leaf.dtype for leaf in leaves]
    # The next call of the model raises and reports the same error.
    with suppress(Exception), keras.StatelessScope():
        graph = tf.function(call, input_signature=specs, autograph=False).get_concrete_function().graph
        read = [_find_cast(tensor) or leaf.dtype for tensor, leaf in zip(graph.inputs, leaves, strict=False)]
    typed = [keras.KerasTensor(leaf.shape, dtype) for leaf, dtype in zip(leaves, read, strict=True)]
    return keras.tree.pack_sequence_as(structure, typed)


def _find_cast(tensor: "tf.Tensor") -> str | None:
    casts = [user.outputs[0].dtype for user in tensor.consumers() if user.type == "Cast"]
    others = {user.type for user in tensor.consumers()} - {"Cast"} - _EITHER_WAY
    if others or not casts or not all(dtype.is_integer or dtype.is_bool for dtype in casts):
        return None
    return str(casts[0].name)
