"""Surgery: changes the skips of a functional model that others built, and keeps its weights.

graph       reads the calls of a model
skips       finds the sums that have a skip
rebuild     builds the model again, with its skips changed
functions   the public functions
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
