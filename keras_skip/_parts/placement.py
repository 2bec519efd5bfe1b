"""Where a residual connection is normalised.

    y = N3(a x + N2(F(N1(x))))

N1, N2 and N3 are normalisations, of which a placement has some; a is a weight of the skip that depends on the depth L.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras


class Placement(NamedTuple):
    """The normalisations of a placement, and how depth scales the skip and the initial kernels."""

    before: bool = False  # N1
    update: bool = False  # N2
    after: bool = False  # N3
    skip_weight: Callable[[int], float] | None = None  # a
    initial_gain: Callable[[int], float] | None = None  # of the kernels in F


PLACEMENTS = {
    None: Placement(),
    "pre": Placement(before=True),
    "post": Placement(after=True),
    "peri": Placement(before=True, update=True),
    # The paper's (2 N)^(1/4) and (8 N)^(-1/4): an encoder of N layers has L = 2 N connections.
    "deepnorm": Placement(after=True, skip_weight=lambda L: L**0.25, initial_gain=lambda L: (4 * L) ** -0.25),
    "keel": Placement(before=True, after=True, skip_weight=float),
}


def scale_kernels(layer: keras.layers.Layer, gain: float) -> None:
    """Multiplies the kernels of a layer, except those that make the queries and keys of attention."""
    for variable in layer.trainable_variables:
        if variable.name == "kernel" and not {"query", "key"} & set(variable.path.split("/")):
            variable.assign(variable * gain)
