"""How the networks for tables prepare a row: they scale its numbers and embed its categories.

    scaling="standard"    z = (x - mean) / deviation
    scaling="quantile"    z = -h + step (clip(u_1) + ... + clip(u_K)),   u_k = (x - q_k) / (q_(k+1) - q_k)

clip limits to [0, 1], so the second is the piecewise linear function through the points (q_k, -h + step k). Since q_k
is the quantile that a normal distribution has at -h + step k, a column becomes nearly normal. The statistics are
variables of a `keras.layers.Normalization`, for the quantiles with q_k as the mean and q_(k+1) - q_k as the deviation.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .._arguments import Builder, document, one_of, positive
from .._common import decay

if TYPE_CHECKING:
    import keras

Scaling: TypeAlias = Literal["standard", "quantile"] | None
SCALING = "scaling"  # the layer's name
PIECES, LIMIT = 64, 2.5
STEP = 2 * LIMIT / PIECES

ARGUMENTS = {
    "input_shape": "(features,), the number of columns.",
    "classes": "Number of logits; 1 for a regression.",
    "categories": """How many categories each of the last columns has; these hold indices from 0. Missing indices and
            those out of range share one more category, "unknown".""",
    "embedding_size": "Size of each embedding; by default min(600, round(1.6 n^0.56)) for n categories, fastai's rule.",
    "scaling": """"standard" or "quantile" for the other columns, with statistics of the training data, which
            `zoo.adapt` sets. A missing value, NaN, then counts as the mean or the median.
            None leaves these columns as they are.""",
}


def document_table(builder: Builder, **others: str) -> Builder:
    """`document`, with what the networks for tables have in common."""
    return document(builder, **{**ARGUMENTS, **others})


def heights() -> list[float]:
    """The values to which the quantiles are mapped."""
    return [STEP * piece - LIMIT for piece in range(PIECES + 1)]


def table_input(
    input_shape: Sequence[int | None], categories: Sequence[int], embedding_size: int | None, scaling: Scaling
) -> "tuple[keras.KerasTensor, keras.KerasTensor]":
    """Makes the symbolic input of a network for tables, and the tensor of all its columns, prepared.

    Raises:
        ValueError: For an argument out of range.
    """
    import keras

    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 1:
        raise ValueError(f"Expected input_shape=(features,). Received: input_shape={input_shape!r}")
    features = positive(input_shape[0] or 0, "input_shape[0]")
    if not isinstance(categories, (tuple, list)) or len(categories) > features:
        raise ValueError(
            f"Expected categories to be a sequence of at most {features} numbers. Received: categories={categories!r}"
        )
    one_of(scaling, "scaling", ("standard", "quantile", None))
    row = keras.Input((features,), name="row")
    numbers = features - len(categories)
    parts = [_scaled(row[:, :numbers] if categories else row, scaling)] if numbers else []
    for place, count in enumerate(categories, 1):
        size = _default_size(positive(count, "categories")) if embedding_size is None else embedding_size
        parts.append(_embedded(row[:, numbers + place - 1], count, positive(size, "embedding_size"), place))
    return row, keras.layers.Concatenate(name="columns")(parts) if len(parts) > 1 else parts[0]


def kernel(weight_decay: float) -> dict[str, Any]:
    """The initialiser and regulariser of a dense layer."""
    return {"kernel_initializer": "he_normal", "kernel_regularizer": decay(weight_decay)}


def _default_size(count: int) -> int:
    return min(600, round(1.6 * count**0.56))


def _embedded(column: "keras.KerasTensor", count: int, size: int, place: int) -> "keras.KerasTensor":
    import keras
    from keras import ops

    index = ops.round(column)
    index = ops.where(ops.logical_and(index >= 0, index < count), index, count)
    return keras.layers.Embedding(count + 1, size, name=f"embedding{place}")(ops.cast(index, "int32"))


def _scaled(numbers: "keras.KerasTensor", scaling: Scaling) -> "keras.KerasTensor":
    import keras
    from keras import ops

    if scaling is None:
        return numbers
    if scaling == "standard":
        scaled = keras.layers.Normalization(name=SCALING, dtype="float32")(numbers)
    else:
        layer = keras.layers.Normalization(axis=(1, 2), name=SCALING, dtype="float32")
        scaled = layer(ops.repeat(ops.expand_dims(numbers, -1), PIECES, axis=-1))
        # Until the statistics are set, values within the limit stay as they are.
        layer.adapt_mean.assign([heights()[:-1]] * numbers.shape[1])
        layer.adapt_variance.assign([[STEP**2] * PIECES] * numbers.shape[1])
        layer.finalize_state()
        scaled = ops.sum(ops.clip(scaled, 0.0, 1.0), axis=-1) * STEP - LIMIT
    return ops.where(ops.isnan(numbers), 0.0, scaled)
