"""The options of an update before the sum: channel attention, a scale, and the probability that it is dropped.

    y = skip + s * attention(update)

    s = a number, 1/sqrt(L), 1/L     fixed
    s = alpha, 0 at the start        learned, "rezero"
    s = a vector over the channels   learned, "layerscale"

L is the number of residual connections in the network.
"""

from typing import Any

import keras

from .._base.arguments import Argument, boolean, number, optional_int, positive_int
from .._base.shapes import channel_axis
from .._base.template import Template, make_layer, template_or_name
from ..attention import EfficientChannelAttention, SqueezeExcite
from ..layer_scale import LayerScale
from .chain import Chain
from .survival import SURVIVAL_ARGUMENTS, make_generator

ATTENTIONS = {"se": SqueezeExcite, "eca": EfficientChannelAttention}
LEARNED_SCALES = {"rezero": {"init": 0.0, "axis": None}, "layerscale": {}}
DEPTH_SCALES = {"1/sqrt(L)": -0.5, "1/L": -1.0}


def _attention(value: Any, argument: str) -> str | Template | None:
    return template_or_name(value, argument, (None, *ATTENTIONS))


def _branch_scale(value: Any, argument: str) -> str | float | Template | None:
    if hasattr(value, "__float__"):
        return number(value, argument)
    names = (None, *LEARNED_SCALES, *DEPTH_SCALES)
    try:
        return template_or_name(value, argument, names)
    except ValueError:
        raise ValueError(
            f"Expected {argument} to be a number, one of {list(names)} or a layer. Received: {argument}={value!r}"
        ) from None


def _depth(value: int | None, argument: str) -> int | None:
    return None if value is None else positive_int(value, argument)


UPDATE_ARGUMENTS = {
    **SURVIVAL_ARGUMENTS,
    "attention": Argument(None, _attention),
    "branch_scale": Argument(None, _branch_scale),
    "depth": Argument(None, _depth),
    "recompute": Argument(False, boolean),
    "seed": Argument(None, optional_int),
}

UPDATE_OPTIONS_DOC = """
    survival_prob: Probability p in (0, 1] that a training step keeps the branch. Default 1.
    granularity: "batch" (one draw per batch; a dropped branch is not computed), "sample" (one draw per example), or
        "rows" (the branch is computed for k = max(1, floor(p B)) of the B examples, drawn anew in each step, so every
        step takes less time; BatchNormalization in the branch sees only the k). Default "batch".
    scale: "training" (a surviving update is divided by p, or with "rows" multiplied by B / k) or "inference" (the
        update is multiplied by p at inference, as in the paper). Default "training".
    attention: The last layer of the branch, usually a gate on the channels: "se" (`SqueezeExcite`), "eca"
        (`EfficientChannelAttention`) or a layer that is copied. Default None.
    branch_scale: Scale s of the update: a number, "1/sqrt(L)" or "1/L" for L = depth, "rezero" (a learned scalar that
        starts at 0), "layerscale" (`LayerScale()`, a learned vector that starts at 1e-5) or a layer that is copied, for
        instance `LayerScale(0.1)`. Default None.
    depth: The number L of residual connections in the network; an encoder has two in each of its layers. Default None.
    recompute: Whether training computes the values between the block's input and output again for the gradients,
        instead of keeping them in memory. The results are the same. Default False."""


def prepare_update(owner: keras.layers.Layer) -> None:
    """Ends an owner's constructor: makes the generator of its draws, and checks its branch scale."""
    owner.seed_generator = make_generator(owner)
    fixed_gain(owner)


def fixed_gain(owner: keras.layers.Layer) -> float:
    """The branch scale as a number, or 1 if a layer learns it."""
    if isinstance(owner.branch_scale, float):
        return owner.branch_scale
    if owner.branch_scale not in DEPTH_SCALES:
        return 1.0
    return need_depth(owner, "branch_scale") ** DEPTH_SCALES[owner.branch_scale]


def need_depth(owner: keras.layers.Layer, argument: str) -> int:
    if owner.depth is None:
        raise ValueError(
            f"Expected depth, the number of residual connections in the network, for {argument}="
            f"{getattr(owner, argument)!r}. Received: depth=None"
        )
    return owner.depth


def end_branch(owner: keras.layers.Layer, branch: Chain) -> None:
    """Adds the sub-layers that end the branch: the attention and the learned scale."""
    if owner.attention is not None:
        branch.add("channel_attention", make_layer(owner, owner.attention, ATTENTIONS, "channel_attention"))
    if owner.branch_scale in LEARNED_SCALES:
        axis = channel_axis(owner.data_format, len(branch.shape))
        options = {"axis": axis, **LEARNED_SCALES[owner.branch_scale], **owner._sub_layer("layer_scale")}
        branch.add("layer_scale", LayerScale(**options))
    elif isinstance(owner.branch_scale, Template):
        branch.add("layer_scale", make_layer(owner, owner.branch_scale, {}, "layer_scale"))
