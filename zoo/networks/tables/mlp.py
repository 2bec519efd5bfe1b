"""Perceptrons for tables, of highway layers or of densely connected ones.

    highway    x <- T(x) * relu(W x + b) + C(x) * x
    dense      x <- [x, W relu(norm(x))]

Those for images are in `zoo.networks.small_images.mlp`.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .._arguments import positive
from .._common import block_norm, head, norm_activation
from ..family import Family, Row
from ..small_images.densenet import DENSENET
from ..small_images.highway import HIGHWAY
from .preparation import Scaling, document_table, kernel, table_input

if TYPE_CHECKING:
    import keras

_document = partial(
    document_table,
    dropout="Rate of the dropout in each layer.",
    recompute="Whether only the inputs of the layers are kept for the gradients; see `keras_skip.ResidualBlock`.",
)


@_document
def tabular_highway(
    input_shape: Sequence[int | None],
    classes: int = 7,
    depth: int = 4,
    width: int = 128,
    dropout: float = 0.0,
    carry: Literal["coupled", "learned"] = "coupled",
    transform_bias: float = -2.0,
    categories: Sequence[int] = (),
    embedding_size: int | None = None,
    scaling: Scaling = None,
    weight_decay: float = 0.0,
    recompute: bool = False,
) -> "keras.Model":
    """Perceptron of highway layers for the rows of a table.

    Args:
        depth: Highway layers.
        width: Units of each.
        carry: As in `keras_skip.HighwayBlock`.
        transform_bias: As in `keras_skip.HighwayBlock`.

    Returns:
        A model from rows of floats to logits, named "tabular_highway".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.tables.mlp import tabular_highway
    >>> tabular_highway((7,), classes=1, categories=(3, 12)).output_shape
    (None, 1)
    """
    import keras

    from keras_skip import HighwayBlock

    row, x = table_input(input_shape, categories, embedding_size, scaling)
    options: dict[str, Any] = {"carry": carry, "transform_bias": transform_bias, "dropout": dropout}
    options |= {"recompute": recompute}
    x = keras.layers.Dense(positive(width, "width"), "relu", name="stem", **kernel(weight_decay))(x)
    for block in range(1, positive(depth, "depth") + 1):
        x = HighwayBlock(name=f"block{block}", **options, **kernel(weight_decay))(x)
    return keras.Model(row, head(x, classes, weight_decay), name="tabular_highway")


@_document
def tabular_densenet(
    input_shape: Sequence[int | None],
    classes: int = 7,
    depth: int = 4,
    width: int = 128,
    growth_rate: int = 64,
    dropout: float = 0.0,
    categories: Sequence[int] = (),
    embedding_size: int | None = None,
    scaling: Scaling = None,
    weight_decay: float = 0.0,
    recompute: bool = False,
) -> "keras.Model":
    """Perceptron for the rows of a table whose layers see the features of all before them.

    Args:
        depth: Densely connected layers.
        width: Units of the layer before them.
        growth_rate: New features of each.

    Returns:
        A model from rows of floats to logits, named "tabular_densenet".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.tables.mlp import tabular_densenet
    >>> tabular_densenet((7,), classes=1, categories=(3, 12)).output_shape
    (None, 1)
    """
    import keras

    from keras_skip import DenseBlock

    row, x = table_input(input_shape, categories, embedding_size, scaling)
    options: dict[str, Any] = {"bottleneck": False, "dropout": dropout, "recompute": recompute, **block_norm()}
    x = keras.layers.Dense(positive(width, "width"), name="stem", **kernel(weight_decay))(x)
    layers, growth = positive(depth, "depth"), positive(growth_rate, "growth_rate")
    x = DenseBlock(layers, growth, name="block", **options, **kernel(weight_decay))(x)
    return keras.Model(row, head(norm_activation(x, "last"), classes, weight_decay), name="tabular_densenet")


_family = partial(Family, task="tables", input_shape=(54,), classes=7)

FAMILIES = (
    _family(
        tabular_highway,
        "highway layers for tables",
        (Row("tabular_highway", {"depth": 4}, 140_039, 0, 138_880),),
        HIGHWAY,
    ),
    _family(
        tabular_densenet,
        "densely connected layers for tables",
        (Row("tabular_densenet", {"depth": 4}, 69_639, 2_560, 66_944),),
        DENSENET,
    ),
)
