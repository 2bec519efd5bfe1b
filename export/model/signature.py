"""Reads the signature of a model: the names, shapes and types at the edge of the exported graph.

The names are those of the model's inputs, and of the layers or keys of its outputs. A single input or output whose name
Keras generated is called "input" or "output".
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ExportError, error_line
from ..storage.arrays import Batch
from .inputs import TEXT
from .tracers import Tracer

if TYPE_CHECKING:
    import keras
    from tensorflow import Tensor

Shape = tuple[int | None, ...]
# An array, or arrays by name or in any structure that a model takes.
Samples = ArrayLike | Mapping[str, Any] | Sequence[Any]

INPUT, OUTPUT = "input", "output"
_NAMELESS = "keras_tensor"
_GENERATED = re.compile(rf"({_NAMELESS}|input_layer)(_\d+)?")
_HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: Its name.
        shape: Its shape; dynamic sizes are None, as that of the batch always is.
        dtype: NumPy's name of its type; float32 for half precision, which belongs to training and not to the interface.
    """

    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True)
class Signature:
    """The way to call a model with tensors that come one by one, and the outputs it gives.

    Attributes:
        inputs: The model's inputs, flat.
        structure: The argument of the model, whose leaves stand for the inputs in their order.
        by_keyword: Whether the structure's entries are separate arguments.
        outputs: The names of the outputs, flat.
        output_shapes: The shapes of the outputs.
    """

    inputs: tuple[Input, ...]
    structure: Any
    by_keyword: bool
    outputs: tuple[str, ...]
    output_shapes: tuple[Shape, ...]

    def call(self, model: "keras.Model", tensors: "Sequence[Tensor]") -> "dict[str, Tensor]":
        """Calls a model for inference, and returns its outputs by name."""
        from keras import tree

        packed = tree.pack_sequence_as(self.structure, list(tensors))
        given = model(**packed, training=False) if self.by_keyword else model(packed, training=False)
        return dict(zip(self.outputs, [leaf for leaf in tree.flatten(given) if leaf is not None], strict=True))


def read_signature(model: "keras.Model", samples: Samples | None, tracer: Tracer) -> Signature:
    """Reads the signature of a model.

    Args:
        model: A Keras model. One that has never seen an input is built on the samples.
        samples: Inputs of the model, which it needs if it does not know its inputs itself.
        tracer: Finds the types of inputs that Keras does not remember.

    Raises:
        ExportError: If the inputs of the model are unknown, or its outputs have no names.
    """
    import keras

    structure, by_keyword = _find_structure(model, samples, tracer)
    inputs = _read_inputs(model, structure)
    given = _output_spec(model, structure, by_keyword, inputs)
    return Signature(
        inputs,
        structure,
        by_keyword,
        _name_outputs(model, given, {i.name for i in inputs}),
        tuple(tuple(leaf.shape) for leaf in keras.tree.flatten(given) if leaf is not None),
    )


def _find_structure(model: "keras.Model", samples: Samples | None, tracer: Tracer) -> tuple[Any, bool]:
    """Returns the structure, whose leaves are KerasTensors, and whether its entries are separate arguments."""
    import keras

    if getattr(model, "inputs", None):
        # A Sequential has no structure of its own.
        return (model.input if hasattr(model, "output_names") else model.inputs[0]), False
    if samples is not None:
        structure = keras.tree.map_structure(_to_symbolic, samples)
        arguments = inspect.signature(model.call).parameters
        by_keyword = isinstance(structure, Mapping) and set(structure) <= set(arguments)
        if not model.built:
            _build_on(model, samples, by_keyword)
        return structure, by_keyword
    if not model.built:
        raise ExportError(
            f"Expected a built model, or samples to build it on. Received: {model.name}, which has never seen an input"
        )
    return tracer.infer_dtypes(model, _read_build_config(model)), False


def _build_on(model: "keras.Model", samples: Samples, by_keyword: bool) -> None:
    import keras

    few = keras.tree.map_structure(lambda x: np.asarray(x)[:2], samples)
    try:
        _ = model(**few, training=False) if by_keyword else model(few, training=False)
    except Exception as error:  # The model's own code may raise anything.
        shapes = ", ".join(str(np.shape(x)) for x in keras.tree.flatten(samples))
        raise ExportError(
            "Expected samples= that the model takes. "
            f"Received: shape {shapes}, on which {model.name} raised {error_line(error)}"
        ) from error


def _read_build_config(model: "keras.Model") -> Any:
    import keras

    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    if shape is None or not _holds_shapes(shape):
        raise ExportError(
            "Expected a model that was built on the shapes of its inputs, or samples of them. "
            f"Received: {model.name}, built with {config}"
        )

    def symbolic(node: Any) -> Any:
        if _is_shape(node):
            return keras.KerasTensor((None, *node[1:]), "float32")
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        parts = {key: symbolic(value) for key, value in items}
        return parts if isinstance(node, Mapping) else list(parts.values())

    return symbolic(shape)


def _is_shape(node: Any) -> bool:
    return isinstance(node, (tuple, list)) and len(node) > 0 and all(n is None or isinstance(n, int) for n in node)


def _holds_shapes(node: Any) -> bool:
    if _is_shape(node):
        return True
    parts = list(node.values()) if isinstance(node, Mapping) else node if isinstance(node, (tuple, list)) else []
    return len(parts) > 0 and all(map(_holds_shapes, parts))


def _to_symbolic(x: ArrayLike) -> "keras.KerasTensor":
    import keras

    x = np.asarray(x)
    return keras.KerasTensor((None, *x.shape[1:]), "string" if x.dtype.kind in "UO" else x.dtype.name)


def _read_inputs(model: "keras.Model", structure: Any) -> tuple[Input, ...]:
    import keras

    leaves = keras.tree.flatten_with_path(structure)
    names = [_path_name(path) or _layer_name(leaf) for path, leaf in leaves]
    names = [INPUT] if len(names) == 1 and _GENERATED.fullmatch(names[0]) else names
    names = [name if name != _NAMELESS else f"{INPUT}_{i}" for i, name in enumerate(names)]
    # Names become arguments of a Python function, and TensorFlow ignores their case.
    names = [f"{name}_{INPUT}" if name == "self" or iskeyword(name) else name for name in names]
    inputs = []
    for name, (_, leaf) in zip(make_distinct(names, str.lower), leaves, strict=True):
        if not leaf.shape:
            kind = f"a {leaf.dtype} of shape {leaf.shape}"
            raise ExportError(
                f"Expected inputs whose first axis is the batch. Received: {name} of {model.name}, {kind}"
            )
        dtype = "float32" if leaf.dtype in _HALF else TEXT if leaf.dtype == "string" else leaf.dtype
        inputs.append(Input(name, (None, *leaf.shape[1:]), dtype))
    return tuple(inputs)


def _layer_name(tensor: "keras.KerasTensor") -> str:
    history = getattr(tensor, "_keras_history", None)
    return history.operation.name if history else _NAMELESS


def _output_spec(model: "keras.Model", structure: Any, by_keyword: bool, inputs: tuple[Input, ...]) -> Any:
    import keras

    symbols = [keras.KerasTensor(i.shape, "string" if i.dtype == TEXT else i.dtype) for i in inputs]
    packed = keras.tree.pack_sequence_as(structure, symbols)
    try:
        return model.compute_output_spec(**packed) if by_keyword else model.compute_output_spec(packed)
    except Exception as error:  # The model's own code may raise anything.
        raise ExportError(
            f"Expected a model that runs on {', '.join(f'{i.name} {i.shape}' for i in inputs)}. "
            f"Received: {model.name}, which raised {error_line(error)}"
        ) from error


def _name_outputs(model: "keras.Model", given: Any, taken: set[str]) -> tuple[str, ...]:
    import keras

    # A model may leave out a part, which is then None.
    leaves = [(path, leaf) for path, leaf in keras.tree.flatten_with_path(given) if leaf is not None]
    if not leaves or not all(isinstance(leaf, keras.KerasTensor) for _, leaf in leaves):
        raise ExportError(f"Expected a model whose outputs are tensors. Received: {model.name}, which gives {given!r}")
    # The output of a Sequential is that of its last layer.
    last = model.layers[-1].name if getattr(model, "outputs", None) and len(leaves) == 1 else ""
    layers = getattr(model, "output_names", None) or [last] * len(leaves)
    names = [_path_name(path) or layer for (path, _), layer in zip(leaves, layers, strict=True)]
    made_up = _generated_names(model)
    if len(names) == 1:
        names = [OUTPUT if names[0] in made_up else names[0]]
    names = [name or f"{OUTPUT}_{i}" for i, name in enumerate(names)]
    return make_distinct([f"{name}_{OUTPUT}" if _make_valid(name) in taken else name for name in names])


def _generated_names(model: "keras.Model") -> set[str]:
    """Returns the names that Keras generated: that of the class, with a number behind it."""
    made_up = {""}
    for layer in getattr(model, "operations", None) or model.layers:
        stem = re.sub(r"_\d+$", "", layer.name)
        if stem.replace("_", "") == type(layer).__name__.lower():
            made_up.add(layer.name)
    return made_up


def _path_name(path: tuple[str | int, ...]) -> str:
    """Joins the keys on the way to a leaf; the empty string if there are none."""
    return "_".join(map(str, path)) if any(isinstance(key, str) for key in path) else ""


def make_distinct(names: Sequence[str], key: Callable[[str], str] = str) -> tuple[str, ...]:
    """Makes names that TensorFlow and ONNX both accept, and whose values of `key` all differ."""
    found: dict[str, str] = {}
    for name in map(_make_valid, names):
        count, candidate = 0, name
        while key(candidate) in found:
            count += 1
            candidate = f"{name}_{count}"
        found[key(candidate)] = candidate
    return tuple(found.values())


def _make_valid(name: str) -> str:
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return name if name[0].isalpha() else f"x{name}"


def flatten_samples(signature: Signature, samples: Samples | None) -> Batch | None:
    """Returns samples by the names of the inputs, from an array, a structure like the model's, or arrays by name."""
    if samples is None:
        return None
    names = [i.name for i in signature.inputs]
    if isinstance(samples, Mapping) and set(samples) == set(names):
        return {name: np.asarray(samples[name]) for name in names}
    from keras import tree

    if isinstance(samples, Mapping):
        # By the keys of the model's own structure, or by the names of its layers, before they are made valid.
        own = tree.flatten_with_path(signature.structure)
        given = dict(tree.flatten_with_path(samples))
        for keys in ([path for path, _ in own], [(_layer_name(leaf),) for _, leaf in own]):
            if set(keys) == set(given):
                return {name: np.asarray(given[key]) for name, key in zip(names, keys, strict=True)}
        raise ValueError(f"Expected samples of {', '.join(names)}. Received: {', '.join(map(str, samples))}")
    leaves = [np.asarray(samples)] if len(names) == 1 else tree.flatten(samples)
    if len(leaves) != len(names):
        raise ValueError(f"Expected samples of {', '.join(names)}. Received: {len(leaves)} arrays")
    return dict(zip(names, map(np.asarray, leaves), strict=True))
