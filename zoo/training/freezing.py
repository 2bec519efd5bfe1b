"""Freezes a part of a network, for the whole run or for its first epochs.

A frozen normalisation uses its moving statistics in training too, and does not update them. Layers that are frozen at
the end of a run are frozen in its model.keras too.
"""

from collections.abc import Iterator
from typing import Any

import keras

from .recipe import Recipe

NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)


def check_unfreezing(recipe: Recipe) -> None:
    """Raises a ValueError if a frozen backbone would never train, because the run ends first."""
    if recipe.unfreeze_after >= recipe.epochs:
        raise ValueError(
            f"Expected unfreeze_after to be below the run's {recipe.epochs} epochs. "
            f"Received: unfreeze_after={recipe.unfreeze_after}"
        )


class Freezing:
    """Freezes layers of a network, and can undo it.

    Args:
        model: The network.
        freeze: "norms", "backbone" or "none"; see `zoo.training.recipe.Recipe`.

    Raises:
        ValueError: If the network has nothing to freeze, or nothing would be left to train.
    """

    def __init__(self, model: keras.Model, freeze: str) -> None:
        self.before: list[tuple[Any, bool]] = []
        chosen = {"none": (), "norms": norms(model), "backbone": backbone(model)}[freeze]
        # A layer that was frozen before stays so.
        self.layers = [layer for layer in chosen if layer.trainable and layer.weights]
        self.set(True)
        left = len(model.trainable_variables)
        self.set(False)
        if not left or (freeze != "none" and not self.layers):
            what = "left to train" if self.layers else "to freeze"
            raise ValueError(f"Expected a network with layers {what}. Received: {model.name} with freeze={freeze!r}")

    def set(self, frozen: bool) -> None:
        """Freezes the layers, or makes them and what is inside them what they were before."""
        if frozen == bool(self.before):
            return
        if frozen:
            inside = [inner for layer in self.layers for inner in layer._flatten_layers()]
            parts = [*inside, *(variable for layer in self.layers for variable in layer.variables)]
            self.before = [(part, part.trainable) for part in parts]
            for layer in self.layers:
                layer.trainable = False
        else:
            # A layer comes before those inside it, which it changes too.
            for part, trainable in self.before:
                part.trainable = trainable
            self.before = []


def norms(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The normalisations of a network, those inside blocks included."""
    return (layer for layer in model._flatten_layers() if isinstance(layer, NORMALIZATIONS))


def backbone(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a network below its head: the layer "head", or otherwise the last one with weights to train."""
    trained = [layer for layer in model.layers if layer.trainable_variables]
    named = [layer for layer in trained if layer.name == "head"]
    head = (named or trained or [None])[-1]
    return (layer for layer in model.layers if layer is not head)
