"""Surgery: changes the skips of a functional model that others built, and keeps its weights.

graph       the calls of a model
skips       which of its sums have a skip
rebuild     the model again, with its skips changed
functions   the public ones
"""

from .functions import (
    add_layer_scale,
    add_squeeze_excite,
    add_stochastic_depth,
    list_skips,
    without_branch,
    without_skip,
)

__all__ = [
    "add_layer_scale",
    "add_squeeze_excite",
    "add_stochastic_depth",
    "list_skips",
    "without_branch",
    "without_skip",
]
