"""The residual network for tables: each block normalises, widens, and returns to the width of the network.

    x <- x + drop(W' drop(relu(W norm(x) + b)) + b')

Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, 2021, https://arxiv.org/abs/2106.11959
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...weights.naming import torch_naming
from .._arguments import falling_survival, number, positive
from .._common import NORM, block_norm, head, norm_activation
from ..family import Family, Row
from .preparation import Scaling, document_table, kernel, table_input

if TYPE_CHECKING:
    import keras


@document_table
def tabular_resnet(
    input_shape: Sequence[int | None],
    classes: int = 7,
    depth: int = 4,
    width: int = 128,
    expansion: float = 2.0,
    dropout: float = 0.0,
    residual_dropout: float = 0.0,
    categories: Sequence[int] = (),
    embedding_size: int | None = None,
    scaling: Scaling = None,
    survival_prob: float = 1.0,
    weight_decay: float = 0.0,
    recompute: bool = False,
) -> "keras.Model":
    """Residual network for the rows of a table.

    Args:
        depth: Blocks.
        width: Units between the blocks.
        expansion: Factor on the width inside a block.
        dropout: Rate inside the blocks.
        residual_dropout: Rate at the end of the blocks.
        survival_prob: Of the last block; the probabilities fall to it linearly, and each row is drawn separately.

    Returns:
        A model from rows of floats to logits, named "tabular_resnet".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.tables.resnet import tabular_resnet
    >>> tabular_resnet((7,), classes=3, depth=3, width=24).output_shape
    (None, 3)
    """
    import keras

    from keras_skip import Residual

    row, x = table_input(input_shape, categories, embedding_size, scaling)
    factor = number(expansion, "expansion", 0)
    inner = positive(int(factor * positive(width, "width")), "int(expansion * width)")
    options: dict[str, Any] = {"norm": "pre", "normalization": "batch", **block_norm(NORM), "recompute": recompute}
    options |= {"shortcut": "identity", "granularity": "sample"}
    x = keras.layers.Dense(width, name="stem", **kernel(weight_decay))(x)
    for block, survival in enumerate(falling_survival(survival_prob, positive(depth, "depth")), 1):
        layers = [
            keras.layers.Dense(inner, "relu", name="dense1", **kernel(weight_decay)),
            keras.layers.Dropout(number(dropout, "dropout", 0, 1), name="dropout1"),
            keras.layers.Dense(width, name="dense2", **kernel(weight_decay)),
            keras.layers.Dropout(number(residual_dropout, "residual_dropout", 0, 1), name="dropout2"),
        ]
        x = Residual(layers, survival_prob=survival, name=f"block{block}", **options)(x)
    return keras.Model(row, head(norm_activation(x, "last"), classes, weight_decay), name="tabular_resnet")


NAMING = torch_naming(
    "rtdl_revisiting_models",
    (
        (r"^stem$", "input_projection"),
        (r"^block(\d+)/", lambda match: f"blocks.{int(match[1]) - 1}."),
        (r"\.pre_norm$", ".normalization"),
        (r"\.dense(\d)$", r".linear\1"),
        (r"^last_norm$", "output.normalization"),
        (r"^head$", "output.linear"),
    ),
)

FAMILIES = (
    Family(
        tabular_resnet,
        "residual network for tables",
        (Row("tabular_resnet", {"depth": 4}, 272_903, 1_280, 269_952),),
        "Gorishniy et al. 2021, Revisiting Deep Learning Models for Tabular Data, arXiv 2106.11959",
        "tables",
        input_shape=(54,),
        classes=7,
        namings=(NAMING,),
        anchors=("stem/kernel", "head/bias"),
    ),
)
