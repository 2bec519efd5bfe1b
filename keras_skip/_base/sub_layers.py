"""Keeps the settings that were changed on sub-layers after they were made, in files and in clones.

A block makes its sub-layers from its own arguments. No argument holds the settings that change later (frozen,
quantised, another dropout rate). So the block's configuration holds the settings that differ under "sub_layers", by the
name of the sub-layer.
"""

from typing import Any

import keras

Settings = dict[str, Any]


class Changes:
    """The settings of sub-layers that changed since they were made; `known` holds those of a configuration."""

    def __init__(self, known: dict[str, Settings]) -> None:
        self._known = known
        self._made: dict[str, Settings] = {}

    def apply(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """Returns `layer`, which is not built yet, with its changed settings."""
        self._made[layer.name] = settings(layer)
        changed = {name: value for name, value in self._known.get(layer.name, {}).items() if name != "trainable"}
        if _keeps_changes(layer):
            layer._changes = Changes(changed.get("sub_layers", {}))
            return layer
        return type(layer).from_config(layer.get_config() | changed) if changed else layer

    def record_build(self, layer: keras.layers.Layer, before: Settings) -> None:
        """Ignores the settings that building itself changed, and sets whether `layer` is trainable if that changed."""
        after = settings(layer)
        own = after.keys() - {"trainable", "sub_layers"}
        self._made[layer.name] |= {name: after[name] for name in own if after[name] != before.get(name)}
        if "trainable" in self._known.get(layer.name, {}):
            layer.trainable = self._known[layer.name]["trainable"]

    def find(self, owner: keras.layers.Layer) -> dict[str, Settings]:
        """The changes so far; before the sub-layers are made, the known ones."""
        if not self._made:
            return dict(self._known)
        found = {name: _find_changes(owner, getattr(owner, name), made) for name, made in self._made.items()}
        return {name: changed for name, changed in found.items() if changed}


def _keeps_changes(layer: keras.layers.Layer) -> bool:
    return isinstance(getattr(layer, "_changes", None), Changes)


def _find_changes(owner: keras.layers.Layer, layer: keras.layers.Layer, made: Settings) -> Settings:
    nested = _keeps_changes(layer)
    changed = {
        name: value
        for name, value in settings(layer).items()
        if name != "trainable" and value != made.get(name) and (name == "sub_layers" or not nested)
    }
    if layer.trainable != (made["trainable"] and owner.trainable):
        changed["trainable"] = layer.trainable
    return changed


def settings(layer: keras.layers.Layer) -> Settings:
    """The configuration, made of values that can be compared."""
    return _simplify(layer.get_config())


def _simplify(value: Any) -> Any:
    if isinstance(value, dict):
        # Keras numbers shared objects while it writes or reads a file, and only then.
        return {name: _simplify(entry) for name, entry in value.items() if name != "shared_object_id"}
    if isinstance(value, (list, tuple)):
        return [_simplify(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value
