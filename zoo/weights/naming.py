"""What others call our variables: a table for each family of networks and each library that has it.

The names of a library's layers follow from those of ours by rules, applied one after the other. What the rules do not
mention, timm's deeper stems for instance, ends as a name that the file lacks.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Pattern and replacement, as `re.sub` takes them.
Rules = tuple[tuple[str, str | Callable[[re.Match], str]], ...]

# Enough to tell the libraries apart; a file may come without the head.
ANCHORS = ("stem_conv/kernel", "head/bias")


@dataclass(frozen=True)
class Naming:
    """The names of one library for the variables of one family.

    Attributes:
        owners: From the path of our layer to the name of theirs.
        variables: From our variable's name to theirs.
        separator: Between a layer's name and its variable's.
        older: From names in older files to today's.
        transposed: Whether kernels have their channels first, (out, in, ...).
        arguments: Of our builder, where theirs has other constants.
    """

    owners: Rules = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    separator: str = "/"
    older: Rules = ()
    transposed: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def theirs(self, path: str) -> str:
        """Their name of our variable."""
        owner, _, variable = path.rpartition("/")
        return f"{_renamed(owner, self.owners)}{self.separator}{self.variables.get(variable, variable)}"

    def read(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays under today's names, in our layout."""
        current: dict[str, np.ndarray] = {}
        for name, array in arrays.items():
            today = _renamed(name, self.older)
            # Of two names for the same thing, one stays as it is, and is reported as unexpected.
            current[name if today in arrays and today != name else today] = self._ours(array)
        return current

    def classes(self, arrays: Mapping[str, np.ndarray]) -> int | None:
        """The number of logits of the network in a file; None if it has no head."""
        head = self.theirs("head/bias")
        shapes = [array.shape for name, array in arrays.items() if _renamed(name, self.older) == head]
        return shapes[0][0] if shapes and shapes[0] else None

    def _ours(self, array: np.ndarray) -> np.ndarray:
        if not self.transposed or array.ndim < 2:
            return array
        return array.transpose(*range(2, array.ndim), 1, 0)


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _next(form: str) -> Callable[[re.Match], str]:
    """The stages of keras.applications count from 2."""
    return lambda match: form.format(int(match[1]) + 1, *match.groups()[1:])


def _previous(form: str) -> Callable[[re.Match], str]:
    """The blocks of torchvision's stages count from 0."""
    return lambda match: form.format(match[1], int(match[2]) - 1)


OWN = Naming()

_KERAS: Rules = ((r"^stem_conv$", "conv1_conv"), (r"^stem_norm$", "conv1_bn"), (r"^head$", "predictions"))
_KERAS_BLOCK: Rules = ((r"^stage(\d)", _next("conv{}")), (r"/projection$", "_0_conv"), (r"/conv(\d)$", r"_\1_conv"))
# The published files are older than Keras's present names.
_KERAS_OLDER: Rules = ((r"^(probs|fc1000)/", "predictions/"), (r"^conv1/(conv|bn)/", r"conv1_\1/"))

KERAS_RESNET = Naming(
    owners=(*_KERAS, *_KERAS_BLOCK, (r"/projection_norm$", "_0_bn"), (r"/norm(\d)$", r"_\1_bn")), older=_KERAS_OLDER
)
KERAS_RESNET_V2 = Naming(
    owners=(
        *_KERAS,
        *_KERAS_BLOCK,
        (r"^last_norm$", "post_bn"),
        (r"/norm1$", "_preact_bn"),
        (r"/norm2$", "_1_bn"),
        (r"/norm3$", "_2_bn"),
    ),
    older=_KERAS_OLDER,
)
KERAS_DENSENET = Naming(
    owners=(
        *_KERAS,
        (r"^last_norm$", "bn"),
        (r"^transition(\d)/conv1$", _next("pool{}_conv")),
        (r"^transition(\d)/norm1$", _next("pool{}_bn")),
        (r"^block(\d)/layer(\d+)/", _next("conv{}_block{}/")),
        (r"/norm1$", "_0_bn"),
        (r"/conv1$", "_1_conv"),
        (r"/norm2$", "_1_bn"),
        (r"/conv2$", "_2_conv"),
    ),
    older=_KERAS_OLDER,
    arguments={"norm_epsilon": 1.001e-5},
)

_TORCH_VARIABLES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# timm uses torchvision's names for these networks.
TORCH_RESNET = Naming(
    owners=(
        (r"^stem_conv$", "conv1"),
        (r"^stem_norm$", "bn1"),
        (r"^head$", "fc"),
        (r"/projection$", "/downsample.0"),
        (r"/projection_norm$", "/downsample.1"),
        (r"/norm(\d)$", r"/bn\1"),
        (r"^stage(\d)_block(\d+)/", _previous("layer{}.{}.")),
    ),
    variables=_TORCH_VARIABLES,
    separator=".",
    transposed=True,
)
TORCH_DENSENET = Naming(
    owners=(
        (r"^stem_(conv|norm)$", r"features.\g<1>0"),
        (r"^last_norm$", "features.norm5"),
        (r"^head$", "classifier"),
        (r"^transition(\d)/(conv|norm)1$", r"features.transition\1.\2"),
        (r"^block(\d)/layer(\d+)/", r"features.denseblock\1.denselayer\2."),
    ),
    variables=_TORCH_VARIABLES,
    separator=".",
    older=((r"(\.denselayer\d+\.(?:conv|norm))\.(\d)\.", r"\1\2."),),
    transposed=True,
)

# By the builder of the network; our own names come first everywhere.
FAMILIES: dict[str, tuple[Naming, ...]] = {
    "imagenet_resnet:imagenet_resnet": (TORCH_RESNET,),
    "imagenet_resnet:applications_resnet": (KERAS_RESNET,),
    "imagenet_resnet:applications_resnet_v2": (KERAS_RESNET_V2,),
    "imagenet_densenet:imagenet_densenet": (TORCH_DENSENET, KERAS_DENSENET),
}


def naming_for(names: Iterable[str], paths: Iterable[str] = ANCHORS, builder: str = "") -> Naming:
    """The naming that finds most of our variables in a file; of equals, that of the builder's family.

    Args:
        names: What the file holds.
        paths: Of our variables.
        builder: Of the network, if it is known.
    """
    family = FAMILIES.get(builder, ())
    others = [naming for namings in FAMILIES.values() for naming in namings if naming not in family]
    held, wanted = list(names), list(paths)

    def found(naming: Naming) -> int:
        current = {_renamed(name, naming.older) for name in held}
        return sum(naming.theirs(path) in current for path in wanted)

    return max((OWN, *family, *others), key=found)
