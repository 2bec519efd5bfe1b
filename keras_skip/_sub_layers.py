"""Keeps the settings that were changed on sub-layers after they were made, in files and in clones.

A block makes its sub-layers from its own arguments. No argument holds what is set on them later (frozen, quantised,
another dropout rate). So the block's configuration holds the settings that differ under "sub_layers", by the name of
the sub-layer.
"""

from typing import Any

import keras

from ._config import ConfiguredLayer


class SubLayers(ConfiguredLayer):
    """A layer that keeps each sub-layer in an attribute of the sub-layer's name, on which weight files rely."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._changes = Changes({})

    def _add(self, name: str, layer: keras.layers.Layer, shape: Any) -> None:
        layer = self._changes.applied(layer)
        setattr(self, name, layer)
        before = _settings(layer)
        self._build_inside(layer, shape)
        self._changes.built(layer, before)

    def get_config(self) -> dict[str, Any]:
        changes = self._changes.found(self)
        return super().get_config() | ({"sub_layers": changes} if changes else {})

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        layer = super().from_config({name: value for name, value in config.items() if name != "sub_layers"})
        layer._changes = Changes(config.get("sub_layers", {}))
        return layer


class Changes:
    """The settings of sub-layers that changed since they were made; `known` holds those of a configuration."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._known = known
        self._made: dict[str, dict[str, Any]] = {}

    def applied(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """Returns `layer`, which is not built yet, with its changed settings."""
        self._made[layer.name] = _settings(layer)
        changed = {name: value for name, value in self._known.get(layer.name, {}).items() if name != "trainable"}
        if isinstance(layer, SubLayers):
            layer._changes = Changes(changed.get("sub_layers", {}))
            return layer
        return type(layer).from_config(layer.get_config() | changed) if changed else layer

    def built(self, layer: keras.layers.Layer, before: dict[str, Any]) -> None:
        """Ignores what building itself changed, and sets whether `layer` is trainable if that was changed."""
        after = _settings(layer)
        own = after.keys() - {"trainable", "sub_layers"}
        self._made[layer.name] |= {name: after[name] for name in own if after[name] != before.get(name)}
        if "trainable" in self._known.get(layer.name, {}):
            layer.trainable = self._known[layer.name]["trainable"]

    def found(self, owner: keras.layers.Layer) -> dict[str, Any]:
        """The changes so far; before the sub-layers are made, the known ones."""
        if not self._made:
            return dict(self._known)
        found = {name: _changed(owner, getattr(owner, name), made) for name, made in self._made.items()}
        return {name: changed for name, changed in found.items() if changed}


def _changed(owner: keras.layers.Layer, layer: keras.layers.Layer, made: dict[str, Any]) -> dict[str, Any]:
    nested = isinstance(layer, SubLayers)
    changed = {
        name: value
        for name, value in _settings(layer).items()
        if name != "trainable" and value != made.get(name) and (name == "sub_layers" or not nested)
    }
    if layer.trainable != (made["trainable"] and owner.trainable):
        changed["trainable"] = layer.trainable
    return changed


def _settings(layer: keras.layers.Layer) -> dict[str, Any]:
    """The configuration, made of values that can be compared."""
    return _plain(layer.get_config())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        # Keras numbers shared objects while it writes or reads a file, and only then.
        return {name: _plain(entry) for name, entry in value.items() if name != "shared_object_id"}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value
