"""Names of variables in other libraries: a `Naming` for each family of networks and each library that has it.

The names of a library's layers follow from ours by rules, applied one after the other. A layer that no rule mentions
ends as a name that the file lacks.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Pattern and replacement, as `re.sub` takes them.
Rules = tuple[tuple[str, str | Callable[[re.Match], str]], ...]


@dataclass(frozen=True)
class Naming:
    """The names of one library for the variables of one family.

    Attributes:
        owners: From the path of our layer to the name of theirs.
        variables: From our variable's name to theirs.
        separator: Between a layer's name and its variable's.
        whole: From their name, made by the fields above, to their name.
        older: From names in older files to today's.
        unused: Pattern for arrays in the file that are not weights of the network; empty if there are none.
        transposed: Whether kernels have their channels first, (out, in, ...).
        arguments: Of our builder, where theirs has other constants.
        library: Whose it is.
    """

    owners: Rules = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    separator: str = "/"
    whole: Rules = ()
    older: Rules = ()
    unused: str = ""
    transposed: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    library: str = ""

    def theirs(self, path: str) -> str:
        """Their name of our variable."""
        owner, _, variable = path.rpartition("/")
        name = f"{_rename(owner, self.owners)}{self.separator}{self.variables.get(variable, variable)}"
        return _rename(name, self.whole)

    def read(self, arrays: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
        """The arrays under today's names."""
        current = {}
        for name, array in arrays.items():
            if self.unused and re.search(self.unused, name):
                continue
            today = _rename(name, self.older)
            # Of two names for the same thing, one stays as it is, and is reported as unexpected.
            current[name if today in arrays and today != name else today] = array
        return current

    def ours(self, array: "np.ndarray", shape: tuple[int, ...]) -> "np.ndarray":
        """An array in the layout of our variable of that shape, and in that shape if only axes of size 1 differ."""
        if self.transposed and array.ndim >= 2:
            filters, channels, *size = array.shape
            # A depthwise kernel of one filter for each channel: theirs is (channels, 1, ...), ours (..., channels, 1).
            is_depthwise = channels == 1 and shape == (*size, filters, 1)
            array = array.transpose(*range(2, array.ndim), *((0, 1) if is_depthwise else (1, 0)))
        sizes = [size for size in array.shape if size > 1]
        return array.reshape(shape) if sizes == [size for size in shape if size > 1] else array

    def classes(self, arrays: "Mapping[str, np.ndarray]", anchors: Iterable[str] = ()) -> int | None:
        """The number of logits of the network in a file with these arrays; None if it has no head.

        Where the family's anchors name the embeddings of a head, the only variable of a layer, which Keras's files
        number, is not a kernel.
        """
        shapes = {_rename(name, self.older): array.shape for name, array in arrays.items()}
        rows_first = self.transposed or "head/embeddings" in anchors
        for variable, axis in (("bias", 0), ("embeddings", 0), ("kernel", 0 if rows_first else -1)):
            if shape := shapes.get(self.theirs(f"head/{variable}")):
                return shape[axis]
        return None


def _rename(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


OWN = Naming()

_TORCH_VARIABLES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_KERAS: Rules = ((r"^stem_conv$", "conv1_conv"), (r"^stem_norm$", "conv1_bn"), (r"^head$", "predictions"))
# The published files are older than Keras's present names.
_KERAS_OLDER: Rules = ((r"^(probs|fc1000)/", "predictions/"), (r"^conv1/(conv|bn)/", r"conv1_\1/"))


def torch_naming(library: str, owners: Rules, **others: Any) -> Naming:
    """The naming of a library for torch, given the rules for the layers, and other fields."""
    return Naming(owners, _TORCH_VARIABLES, ".", transposed=True, library=library, **others)


def keras_naming(owners: Rules, arguments: Mapping[str, Any] | None = None) -> Naming:
    """The naming of keras.applications, given the rules for the layers between the stem and the head."""
    return Naming((*_KERAS, *owners), older=_KERAS_OLDER, arguments=arguments or {}, library="keras.applications")


def plus_one(form: str) -> Callable[[re.Match], str]:
    """A replacement by a form of the groups, the first of them a number that theirs exceeds by one.

    The stages of keras.applications count from 2.
    """
    return lambda match: form.format(int(match[1]) + 1, *match.groups()[1:])


def minus_one(form: str) -> Callable[[re.Match], str]:
    """A replacement by a form of the groups, the last of them a number that exceeds theirs by one.

    The blocks of torchvision's stages count from 0.
    """
    return lambda match: form.format(*match.groups()[:-1], int(match.groups()[-1]) - 1)


def find_naming(names: Iterable[str], namings: Iterable[Naming], paths: Iterable[str]) -> Naming:
    """Finds the naming under which a file holds most of our variables; of equals, the first.

    Args:
        names: The names in the file.
        namings: To choose from, after our own names.
        paths: Of our variables.
    """
    held, wanted = list(names), list(paths)

    def found(naming: Naming) -> int:
        current = {_rename(name, naming.older) for name in held}
        return sum(naming.theirs(path) in current for path in wanted)

    return max((OWN, *namings), key=found)
