"""The list of all families, and the table of the networks in them. Reading it builds nothing and loads no Keras.

To add a family, write a module with `FAMILIES` and list it in `MODULES`. If its builder has an argument that no other
builder has, add that to `BuilderArguments`.
"""

from collections.abc import Sequence
from typing import Literal, TypedDict

from . import densenet, highway, imagenet_densenet, imagenet_resnet, mlp, preactivation, resnet, stacks, wide
from .family import Entry, Family

MODULES = (mlp, resnet, preactivation, wide, densenet, highway, imagenet_resnet, imagenet_densenet, stacks)

FAMILIES: tuple[Family, ...] = tuple(family for module in MODULES for family in module.FAMILIES)
MODELS: dict[str, Entry] = {row.name: Entry(**vars(row), family=family) for family in FAMILIES for row in family.rows}


class BuilderArguments(TypedDict, total=False):
    """The arguments of all builders; each has some of them."""

    depth: int
    width: int
    growth_rate: int
    widening: Literal[1, 2, 4]
    bottleneck: bool
    compression: float
    shortcut: Literal["pad", "projection"]
    dropout: float
    survival_prob: float
    granularity: Literal["batch", "sample", "rows"]
    scale: Literal["inference", "training"]
    carry: Literal["coupled", "learned"]
    transform_bias: float
    activation: str
    norm_epsilon: float
    zero_init_gamma: bool
    weight_decay: float
    recompute: bool
    heads: int
    patch_size: int | None
    skip: Literal["residual", "highway", "hyper", "depth_average", "depth_attention"] | None
    streams: int
    constraint: Literal["birkhoff", "sinkhorn"] | None


class NetworkArguments(BuilderArguments, total=False):
    """The arguments of `build` for any network."""

    input_shape: Sequence[int | None]
    classes: int
    features_only: bool
