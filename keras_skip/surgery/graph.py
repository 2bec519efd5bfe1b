"""The graph of a functional model, and copies of its layers.

A graph is the model's calls in the order in which they run, each with the tensors that it reads and makes. Keras keeps
them in the nodes of its operations, which this file alone reads.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import keras
from keras import ops
from keras.src.saving.serialization_lib import SafeModeScope

from .._base.shapes import Tensor

LOOKUPS = (keras.layers.StringLookup, keras.layers.IntegerLookup, keras.layers.TextVectorization)
Values = MutableMapping[int, Tensor]  # the new tensors, by the identity of the old ones


class Call(NamedTuple):
    """One call of an operation, which is a layer or a function of `keras.ops`."""

    operation: Any
    arguments: Any
    inputs: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]  # those of the inputs that are given as a mask
    outputs: tuple[Tensor, ...]

    @property
    def data(self) -> list[Tensor]:
        """The inputs without the masks."""
        masks = {id(x) for x in self.masks}
        return [x for x in self.inputs if id(x) not in masks]

    @property
    def layer(self) -> keras.layers.Layer | None:
        return self.operation if isinstance(self.operation, keras.layers.Layer) else None


def is_functional(model: Any) -> bool:
    """Whether calling a model runs its graph and nothing else."""
    if isinstance(model, keras.Sequential):
        return model.built and all(isinstance(x, keras.KerasTensor) for x in model.inputs or (None,))
    owner = next((cls for cls in type(model).__mro__ if "call" in vars(cls)), object)
    return (
        isinstance(model, keras.Model) and isinstance(model, keras.Function) and owner.__module__.startswith("keras.")
    )


def as_functional(model: keras.Model) -> keras.Model:
    """A functional or Sequential model as a functional one, of the same layers and tensors."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def list_calls(model: keras.Model) -> list[Call]:
    """Lists the calls of a functional model in the order in which they run; an input is not a call."""
    by_depth = model._nodes_by_depth
    return [
        Call(
            node.operation,
            node.arguments,
            tuple(node.arguments.keras_tensors),
            tuple(_find_masks(node.arguments.kwargs)),
            tuple(node.outputs),
        )
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not node.is_input
    ]


def _find_masks(named: Mapping[str, Any]) -> Iterator[Tensor]:
    for name, value in named.items():
        if name == "mask" or name.endswith("_mask"):
            yield from (x for x in keras.tree.flatten(value) if isinstance(x, keras.KerasTensor))


def mask_of(x: Tensor) -> Tensor | None:
    """The mask that Keras passes on with a tensor."""
    return getattr(x, "_keras_mask", None)


def copy_inputs(model: keras.Model) -> Any:
    """New inputs like those of a functional model, in the same structure."""
    made_by = {
        id(layer.output): layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.InputLayer)
    }
    return keras.tree.map_structure(lambda x: copy_operation(made_by[id(x)]).output, model.input)


def copy_model(model: keras.Model, run: Callable[[Values], None]) -> keras.Model:
    """A functional model with the inputs, the outputs and the name of another, and the calls that `run` makes.

    `run` gets the new inputs, by the identity of the old ones, and adds the other new tensors in the same way.
    """
    inputs = copy_inputs(model)
    values: Values = {id(x): copy for x, copy in zip(model.inputs, keras.tree.flatten(inputs), strict=True)}
    run(values)
    return keras.Model(inputs, keras.tree.map_structure(lambda x: values[id(x)], model.output), name=model.name)


def copy_operation(operation: Any) -> Any:
    """An operation with the same configuration, which has not been called yet."""
    # The configuration comes from this process, so no code from a file can run.
    with keras.saving.custom_object_scope(_find_custom_objects(operation)), SafeModeScope(False):
        return type(operation).from_config(operation.get_config())


def _find_custom_objects(operation: Any) -> dict[str, Any]:
    """The classes and functions in an operation that are not Keras's, by their names in its configuration.

    Functions that share a name are left out: Keras refuses them only if the configuration mentions one.
    """
    found: dict[str, set[Any]] = {}
    for layer in operation._flatten_layers() if isinstance(operation, keras.layers.Layer) else ():
        held = [value for name, value in vars(layer).items() if not hasattr(keras.layers.Layer, name)]
        for value in (layer, *held):
            custom = value if inspect.isfunction(value) else type(value)
            is_named = inspect.isfunction(value) or hasattr(value, "get_config")
            if is_named and not custom.__module__.startswith("keras."):
                found.setdefault(keras.saving.get_registered_name(custom), set()).add(custom)
    for name, same in found.items():
        if len(same) > 1 and any(map(inspect.isclass, same)):
            raise ValueError(
                "Expected classes that are registered under different names, as by "
                f"@keras.saving.register_keras_serializable(package=...). Received: {operation.name}, in which "
                f"{len(same)} are called {name}"
            )
    return {name: same.pop() for name, same in found.items() if len(same) == 1}


class Copies:
    """Copies of operations, one for each, so that shared layers stay shared."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Any, Any]] = {}
        self._models: dict[int, tuple[keras.Model, keras.Model]] = {}

    def get(self, operation: Any) -> Any:
        """The copy of an operation, made at the first request."""
        if id(operation) not in self._pairs:
            self._pairs[id(operation)] = operation, copy_operation(operation)
        return self._pairs[id(operation)][1]

    def get_model(self, model: keras.Model, rebuild: Callable[[], keras.Model]) -> keras.Model:
        """The copy of a model whose layers are copied one by one."""
        if id(model) not in self._models:
            self._models[id(model)] = model, rebuild()
        return self._models[id(model)][1]

    def take_weights(self) -> None:
        """Gives all copies the weights of their originals, and freezes those that are frozen there."""
        for ours, copy in reversed(self._models.values()):
            if not ours.trainable:
                copy.trainable = False
        seen: dict[int, keras.layers.Layer] = {}
        for ours, copy in self._pairs.values():
            if isinstance(ours, keras.layers.Layer) and copy.built:
                _check_sharing(seen, ours)
                _take(ours, copy)


def _check_sharing(seen: dict[int, keras.layers.Layer], layer: keras.layers.Layer) -> None:
    for variable in layer.weights:
        other = seen.setdefault(id(variable), layer)
        if other is not layer:
            raise ValueError(
                "Expected layers with weights of their own; one layer may be called several times. "
                f"Received: {other.name} and {layer.name}, which share {variable.path}"
            )


def _take(ours: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    shapes = [[tuple(variable.shape) for variable in layer.variables] for layer in (ours, copy)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"Expected a layer whose configuration, from get_config(), makes the same weights. Received: {ours.name} "
            f"({type(ours).__name__}) with weights of shapes {shapes[0]}; its copy has {shapes[1]}"
        )
    for one, other in zip(ours._flatten_layers(), copy._flatten_layers(), strict=True):
        if one.trainable != other.trainable:
            other.trainable = one.trainable
    for one, other in zip(ours.variables, copy.variables, strict=True):
        # A copy of the value: JAX overwrites the arrays of a model that it trains.
        other.assign(ops.copy(one.value))
        if one.trainable != other.trainable:
            other.trainable = one.trainable
    for one, other in zip(ours._flatten_layers(), copy._flatten_layers(), strict=True):
        if hasattr(one, "save_assets"):
            _take_assets(one, other)
    finalize_statistics(copy)


def finalize_statistics(layer: keras.layers.Layer) -> None:
    """Makes each `Normalization` compute with its variables, from which it makes constants."""
    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.Normalization):
            inner.finalize_state()


def _take_assets(ours: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Gives a copy what its original keeps in files, such as a vocabulary, and the arrays that belong to it."""
    if isinstance(ours, LOOKUPS) and not ours.get_vocabulary(include_special_tokens=False):
        return  # not adapted yet; Keras cannot load an empty vocabulary
    arrays: dict[str, Any] = {}
    ours.save_own_variables(arrays)
    copy.load_own_variables(arrays)
    with TemporaryDirectory() as folder:
        ours.save_assets(folder)
        copy.load_assets(folder)
