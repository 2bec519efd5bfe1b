"""How images are preprocessed for trained weights: as the card, the run or the library that they come from says."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .cards import cards
from .catalogue import find
from .published import Published

if TYPE_CHECKING:
    from ..data import Preprocessing

TORCH = (".safetensors", ".pth", ".pt")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preprocessing_of(network: str, weights: str | Path) -> "Preprocessing | None":
    """The preprocessing that weights of a network expect.

    Args:
        network: A name of `zoo.list_models()`.
        weights: As `zoo.load` takes them.

    Returns:
        That of the card or the run; for "imagenet" and for files of torchvision and timm, what is usual there. None for
        other files, which do not say it.
    """
    from ..data import Preprocessing

    imagenet = Preprocessing(1 / 255, _MEAN, _STD)
    for card in cards():
        if (card.network, card.weights) == (network, str(weights)):
            return Preprocessing.from_dict(card.preprocessing)
    if published := find(network, weights):
        usual = {"resnet_v2": Preprocessing(1 / 127.5, (1.0,) * 3, (1.0,) * 3), "densenet": imagenet}
        # keras.applications.resnet: see `swaps_colours`.
        return usual.get(_module(published), Preprocessing(1.0, (123.68, 116.779, 103.939), (1.0,) * 3))
    path = Path(weights)
    record = (path if path.is_dir() else path.parent) / "run.json"
    if record.is_file():
        return Preprocessing.from_dict(json.loads(record.read_text())["source"]["preprocessing"])
    return imagenet if path.suffix in TORCH else None


def swaps_colours(network: str, weights: str | Path) -> bool:
    """Whether weights expect the colours as blue, green, red, so that their first kernel has to be turned round."""
    published = find(network, weights)
    return published is not None and _module(published) == "resnet"


def _module(published: Published) -> str:
    """The module of the function in keras.applications, such as "resnet_v2"; "" for weights of the package."""
    return published.preprocessing.split(".")[-2] if published.preprocessing.startswith("keras.") else ""
