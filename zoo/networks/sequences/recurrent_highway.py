"""Recurrent highway networks: a recurrent layer whose state passes through several highway layers in each step.

    s_d = h_d t_d + s_(d-1) (1 - t_d),   d = 1 ... depth;  see `keras_skip.RecurrentHighway`

For series, a dense layer maps the state to the logits. For text, the tokens are embedded, and the same matrix E maps
the state to the logits of the next token: x = E[token], logits = E s.

Zilly et al., Recurrent Highway Networks, 2016, https://arxiv.org/abs/1607.03474
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .._arguments import positive
from .._common import channels_first, decay, head
from ..family import Family, Row
from ._steps import document_sequences, sequence_input, swap_axes

if TYPE_CHECKING:
    import keras

RECURRENT_HIGHWAY = "Zilly et al. 2016, Recurrent Highway Networks, arXiv 1607.03474"


@partial(
    document_sequences,
    units="Size of the state.",
    depth="Number of highway layers in each step.",
    carry='"coupled" (the paper\'s) or "learned", a carry gate of its own.',
    transform_bias="Initial value of the transform gates' biases.",
    dropout="Rate on the inputs of the recurrent layer, with one mask for all steps of a sequence.",
    recurrent_dropout="Rate on the state where the highway layers read it, with one mask for all steps and layers.",
    unroll="Whether the steps are unrolled instead of run in a loop; their number must be fixed.",
)
def recurrent_highway(
    input_shape: Sequence[int | None],
    classes: int = 10,
    units: int = 128,
    depth: int = 5,
    vocabulary: int | None = None,
    carry: Literal["coupled", "learned"] = "coupled",
    transform_bias: float = -2.0,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    return_sequences: bool = False,
    unroll: bool = False,
    weight_decay: float = 0.0,
) -> "keras.Model":
    """Recurrent highway network for series or text, with logits of the last step or of each.

    Args:
        input_shape: (steps, channels) of floats; or (steps,) of tokens, integers below `vocabulary`. Steps may be None.
        vocabulary: Number of tokens. None, for text: as many as `classes`, and the logits are tied to the embeddings,
            without a bias.

    Returns:
        A model from float series to logits, named "recurrent_highway"; or from tokens, named "recurrent_highway_text".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.sequences.recurrent_highway import recurrent_highway
    >>> recurrent_highway((20, 3), classes=4).output_shape
    (None, 4)
    >>> recurrent_highway((20,), classes=2, vocabulary=1000).output_shape
    (None, 2)
    >>> recurrent_highway((None,), classes=1000, return_sequences=True).output_shape
    (None, None, 1000)
    """
    import keras

    from keras_skip import RecurrentHighway

    inputs = sequence_input(input_shape)
    is_text = len(inputs.shape) == 2
    if unroll and None in inputs.shape[1:]:
        raise ValueError(
            "Expected input_shape with a fixed number of steps for unroll=True. "
            f"Received: input_shape={tuple(input_shape)}, unroll=True"
        )
    if vocabulary is not None and not is_text:
        raise ValueError(f"Expected vocabulary=None for a series of floats. Received: vocabulary={vocabulary!r}")
    tied = None
    if not is_text:
        x = swap_axes(inputs, "steps_first") if channels_first() else inputs
    elif vocabulary is None:
        tied = _tied_head(positive(classes, "classes"), positive(units, "units"), weight_decay)
        x = tied(inputs)
    else:
        embedding = keras.layers.Embedding(
            positive(vocabulary, "vocabulary"), positive(units, "units"), name="embedding"
        )
        x = embedding(inputs)
    options: dict[str, Any] = {"dropout": dropout, "recurrent_dropout": recurrent_dropout, "unroll": unroll}
    options |= {"kernel_regularizer": decay(weight_decay), "recurrent_regularizer": decay(weight_decay)}
    options |= {"return_sequences": return_sequences, "name": "recurrent_highway"}
    x = RecurrentHighway(units, depth, carry, transform_bias, **options)(x)
    logits = head(x, classes, weight_decay) if tied is None else tied(x, reverse=True)
    return keras.Model(inputs, logits, name="recurrent_highway_text" if is_text else "recurrent_highway")


def _tied_head(classes: int, units: int, weight_decay: float) -> "keras.layers.Layer":
    """The embeddings, and in reverse the map to the logits, in float32 like other heads."""
    import keras

    return keras.layers.ReversibleEmbedding(
        classes, units, embeddings_regularizer=decay(weight_decay), dtype="float32", name="head"
    )


_family = partial(Family, recurrent_highway, paper=RECURRENT_HIGHWAY, task="sequences")

FAMILIES = (
    _family(
        summary="recurrent highway network for series",
        rows=(Row("recurrent_highway", {"units": 128, "depth": 5}, 166_666, 0, 128_652_544),),
        input_shape=(784, 1),
        anchors=("recurrent_highway/cell/kernel", "head/bias"),
    ),
    # The paper's network for the words of the Penn Treebank; the authors' code also gives each logit a bias.
    _family(
        summary="recurrent highway network for text, with logits tied to the embeddings",
        rows=(
            Row(
                "recurrent_highway_text",
                {"units": 830, "depth": 10, "return_sequences": True},
                *(23_472_400, 0, 820_953_000),
                "perplexity of 65.4 on the Penn Treebank, with dropout",
            ),
        ),
        input_shape=(35,),
        classes=10_000,
        # In Keras's files, where variables have numbers, the only one of a layer counts as its kernel.
        anchors=("recurrent_highway/cell/kernel", "head/bias", "head/embeddings", "head/kernel"),
    ),
)
