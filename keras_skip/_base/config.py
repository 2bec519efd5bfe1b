"""Arguments that check themselves on the way in and all come back from `get_config`.

A layer states its arguments once: those of its own in `__init__`, those that it shares with other classes in the table
`ARGUMENTS`. Both appear in its signature and in its docstring as if they had been written out, together with those that
`__init__` hands to a base through ``**options``. `get_config` walks that same signature: an argument cannot be accepted
and then forgotten.
"""

import functools
import inspect
import re
import textwrap
from typing import Any, ClassVar, Self

import keras

from .arguments import Argument
from .sub_layers import Changes, settings
from .template import Template
from .wrapped import count_inputs

PACKAGE = "keras_skip"


class _ClassSignature:
    """The signature of a class with all its arguments written out; instances have none of their own."""

    def __get__(self, instance: "ConfiguredLayer | None", owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        return _merged_signature(owner)


class ConfiguredLayer(keras.layers.Layer):
    """A Keras layer with one attribute per argument; its configuration is its signature.

    It keeps each sub-layer in an attribute of the sub-layer's name, on which weight files rely.
    """

    ARGUMENTS: ClassVar[dict[str, Argument]] = {}
    OPTIONS_DOC = ""
    __signature__ = _ClassSignature()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__doc__ and "{options}" in cls.__doc__:
            # An argument that the class describes itself, such as one with another default, is left out.
            text = inspect.cleandoc(cls.__doc__)
            described = re.findall(r"^ +(\w+): ", text, re.MULTILINE)
            entries = re.split(r"\n(?=\S)", inspect.cleandoc(cls.OPTIONS_DOC))
            options = "\n".join(entry for entry in entries if entry.partition(":")[0] not in described)
            cls.__doc__ = text.replace("{options}", textwrap.indent(options, " " * 4).lstrip())

    def __init__(self, **options: Any) -> None:
        super().__init__(**{name: value for name, value in options.items() if name not in self.ARGUMENTS})
        self._changes = Changes({})
        for name, argument in self.ARGUMENTS.items():
            setattr(self, name, argument.check(options.get(name, argument.default), name))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in argument_names(type(self)):
            config[name] = _to_config(name, getattr(self, name))
        changes = self._changes.find(self)
        return config | ({"sub_layers": changes} if changes else {})

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        layer = super().from_config({name: value for name, value in config.items() if name != "sub_layers"})
        layer._changes = Changes(config.get("sub_layers", {}))
        return layer

    def _add(self, name: str, layer: keras.layers.Layer, *shapes: Any) -> None:
        """Builds a sub-layer, with the settings that a file or a clone has for it, and keeps it under its name."""
        layer = self._changes.apply(layer)
        setattr(self, name, layer)
        before = settings(layer)
        self._build_inside(layer, *shapes)
        self._changes.record_build(layer, before)

    def _build_inside(self, layer: keras.layers.Layer, *shapes: Any) -> None:
        """Builds a sub-layer for inputs of these shapes, and freezes it if the owner was frozen before it was there."""
        if not layer.built:
            if type(layer).build is keras.layers.Layer.build and list(layer._flatten_layers(include_self=False)):
                # Without a build of its own, its call builds what is inside, as it does for Keras.
                tensors = [keras.KerasTensor(shape, self.compute_dtype) for shape in shapes[: count_inputs(layer)]]
                keras.Operation.compute_output_spec(layer, *tensors)
            layer.build(*shapes[: len(inspect.signature(layer.build).parameters)])
        if not self.trainable:
            freeze(layer)

    def _sub_layer(self, name: str) -> dict[str, Any]:
        """The arguments that every sub-layer gets."""
        return {"name": name, "dtype": self.dtype_policy}


def freeze(layer: keras.layers.Layer) -> None:
    """Freezes a layer and all layers inside it, even if it is frozen: Keras may have built some of them since then."""
    layer.trainable = True  # on TensorFlow, setting an attribute to the value that it has does nothing
    layer.trainable = False


def argument_names(cls: type) -> list[str]:
    """The named arguments of a layer, in order, those of its bases included and Keras's own not."""
    return [name for name in inspect.signature(cls).parameters if name != "kwargs"]


@functools.cache
def _merged_signature(cls: type) -> inspect.Signature:
    named: dict[str, inspect.Parameter] = {}
    constructors = [base.__dict__["__init__"] for base in cls.__mro__ if "__init__" in base.__dict__ and _is_ours(base)]
    for constructor in constructors:
        for name, parameter in inspect.signature(constructor).parameters.items():
            if name == "self" or parameter.kind is inspect.Parameter.VAR_KEYWORD or name in named:
                continue
            is_first = constructor is constructors[0]
            named[name] = parameter if is_first else parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for name, (default, _, annotation) in getattr(cls, "ARGUMENTS", {}).items():
        option = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        named.setdefault(name, option)
    keras_own = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([*sorted(named.values(), key=lambda parameter: parameter.kind), keras_own])


def _is_ours(base: type) -> bool:
    return issubclass(base, ConfiguredLayer) and base is not ConfiguredLayer


def _to_config(name: str, value: Any) -> Any:
    if isinstance(value, Template):
        return value.config
    if name.endswith("activation"):
        return keras.activations.serialize(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (tuple, list)):
        return [_to_config("", item) for item in value]
    return keras.saving.serialize_keras_object(value)
