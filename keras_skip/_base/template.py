"""A layer given as an argument, such as a normalisation, which is copied for each use.

The owner does not keep the layer itself, which would be a sub-layer that is never called. It keeps the class too, since
a configuration alone only finds registered classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from .arguments import layer_or_name


class Template:
    """A layer's class and configuration."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        self.cls = type(layer)
        self.config = keras.saving.serialize_keras_object(layer)

    def copy(self, **changes: Any) -> keras.layers.Layer:
        """A new layer with these changes of the configuration."""
        if "dtype" in changes:
            # Keras writes the configuration of a layer without get_config only if its arguments are plain values.
            changes["dtype"] = keras.saving.serialize_keras_object(changes["dtype"])
        return self.cls.from_config({**self.config["config"], **changes})


def make_layer(owner: keras.layers.Layer, value: Any, classes: Mapping[str, type], name: str) -> keras.layers.Layer:
    """The sub-layer `name` of an owner: a copy of the template, or an instance of the class that `value` names."""
    options = owner._sub_layer(name)
    if isinstance(value, Template):
        return value.copy(**_place_channels(value.config["config"], owner.data_format), **options)
    return classes[value](data_format=owner.data_format, **options)


def _place_channels(config: Mapping[str, Any], data_format: str) -> dict[str, Any]:
    """The changes by which a layer, unless it says otherwise, finds the channels where its owner has them."""
    changes: dict[str, Any] = {}
    if config.get("data_format") == keras.config.image_data_format():
        changes["data_format"] = data_format
    if config.get("axis") == -1 and data_format == "channels_first":
        changes["axis"] = 1
    return changes


def template_or_name(value: Any, argument: str, names: Sequence[str | None]) -> Any:
    """One of `names`, or the template of a layer given as an object or as its configuration."""
    if value is None and None in names or isinstance(value, Template):
        return value
    given = layer_or_name(value, argument, names)
    return given if isinstance(given, str) else Template(given)
