"""A family of networks: the builder of a paper, the networks of it that have a name, and how the paper trained them.

Each family is in the file of its builder; `catalogue` lists them all.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..training.recipe import Recipe
from ..weights.naming import Naming
from ..weights.published import Published

if TYPE_CHECKING:
    import keras

# What networks are for, and the headings of the pages that group them by it.
TASKS = {
    "classification": "Image classification",
    "segmentation": "Segmentation of images and volumes",
    "volumes": "Classification of volumes and video",
    "sequences": "Series, signals and text",
    "tables": "Tables",
}


@dataclass(frozen=True)
class Row:
    """A network with a name, and how it differs from the others of its family.

    Attributes:
        name: As `zoo.build` takes it.
        arguments: Of the builder.
        parameters: How many are trained. A test counts these figures again in the built networks.
        non_trainable: How many others there are, such as moving statistics.
        multiply_adds: Of one input of the family's size.
        paper_error: What the paper reports; empty if it says nothing.
        recipe: How the paper trained it, where that differs from the family's recipe.
        weights: Those that others publish.
    """

    name: str
    arguments: Mapping[str, Any]
    parameters: int
    non_trainable: int
    multiply_adds: int
    paper_error: str = ""
    recipe: Recipe | None = None
    weights: tuple[Published, ...] = ()


@dataclass(frozen=True)
class Family:
    """Networks of one builder, from one paper.

    Attributes:
        builder: The function that builds them; the networks' arguments are its own.
        summary: What they are.
        rows: The networks.
        paper: Where they were published; empty for networks of our own.
        task: A key of `TASKS`.
        input_shape: Of one input, its channels last: (height, width, channels) of the paper's images.
        classes: Number of logits, or of other outputs.
        recipe: How the paper trained them, without name and network.
        namings: How other libraries name their variables.
        decoder_naming: For networks with an argument `backbone`: makes a naming from one of the backbone's.
        anchors: Paths of variables whose names tell which library a file comes from; the file may lack the head.
    """

    builder: Callable[..., "keras.Model"]
    summary: str
    rows: tuple[Row, ...]
    paper: str = ""
    task: str = "classification"
    input_shape: tuple[int, ...] = (32, 32, 3)
    classes: int = 10
    recipe: Recipe | None = None
    namings: tuple[Naming, ...] = ()
    decoder_naming: Callable[[Naming], Naming] | None = None
    anchors: tuple[str, ...] = ("stem_conv/kernel", "head/bias")

    def namings_on(self, backbones: Iterable["Family"]) -> tuple[Naming, ...]:
        """The namings of the networks, if their backbones are of these families."""
        if self.decoder_naming is None:
            return self.namings
        theirs = (naming for family in backbones for naming in family.namings)
        return (*self.namings, *map(self.decoder_naming, theirs))


@dataclass(frozen=True)
class Entry(Row):
    """A row, and the family that it belongs to."""

    family: Family = field(kw_only=True)


def cifar_errors(ten: str, hundred: str = "") -> str:
    """The text for the errors that a paper reports on CIFAR-10 and CIFAR-100, in percent."""
    return f"{ten} % on CIFAR-10" + (f", {hundred} % on CIFAR-100" if hundred else "")
