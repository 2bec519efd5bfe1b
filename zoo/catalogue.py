"""The table of all networks: one row each, by family. It is data alone; nothing is imported or built to read it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

RESNET = "He et al. 2015, Deep Residual Learning for Image Recognition, arXiv 1512.03385"
HIGHWAY = "Srivastava et al. 2015, Highway Networks, arXiv 1505.00387"
DENSENET = "Huang et al. 2017, Densely Connected Convolutional Networks, arXiv 1608.06993"


@dataclass(frozen=True)
class Entry:
    """What is known of a network without building it; the builder is "module:function" inside `zoo.networks`."""

    name: str
    builder: str
    summary: str
    arguments: dict[str, Any]
    paper: str = ""
    paper_error: str = ""
    input_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10


# Name, arguments of the builder (the depth among them), what the paper reports.
Row = tuple[str, dict[str, Any], str]


def _family(builder: str, summary: str, paper: str, rows: Iterable[Row], **options: Any) -> list[Entry]:
    """Entries that differ in name, arguments and error alone; `options` are the other fields of `Entry`."""
    return [Entry(name, builder, summary, arguments, paper, error, **options) for name, arguments, error in rows]


def _mlp(name: str, summary: str, paper: str = "") -> Entry:
    return Entry(name, f"mlp:{name}", summary, {"depth": 12}, paper, input_shape=(8, 8, 1))


_MLPS = [
    _mlp("plain_mlp", "12 dense layers without skip connections"),
    _mlp("residual_mlp", "the same layers in residual blocks of two", RESNET),
    _mlp("highway_mlp", "the same layers with gates", HIGHWAY),
    _mlp("dense_mlp", "the same layers, each seeing all before it", DENSENET),
]

_RESNETS = _family(
    "resnet:cifar_resnet",
    "residual network for small images, parameter-free shortcuts",
    RESNET,
    [("resnet20", {"depth": 20}, "8.75 % on CIFAR-10")],
)

MODELS: dict[str, Entry] = {entry.name: entry for entry in (*_MLPS, *_RESNETS)}
