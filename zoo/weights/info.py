"""What weights expect and return: how images become inputs, and the names of the outputs."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.images import ImageReader

from ..data.recorded import recorded_reader
from ..data.source import Preprocessing
from ..networks.registry import entry_of, in_present_order
from . import imagenet
from .cards import cards
from .catalogue import find
from .loading import load, naming_of, weights_file

if TYPE_CHECKING:
    import keras

_IMAGENET = 1000


@dataclass(frozen=True)
class WeightsInfo:
    """What weights expect and return; the result of `weights_info`.

    Attributes:
        network: A name of `zoo.list_models()`.
        weights: The name of the weights, or the path of their file.
        preprocessing: Turns raw pixels into the input of the network.
        image: Reads image files as raw pixels; None if the weights are not for pixels from 0 to 255.
        class_names: One for each logit; empty if they are unknown.
        known_from: The origin of this information.
    """

    network: str
    weights: str
    preprocessing: Preprocessing
    image: ImageReader | None
    class_names: tuple[str, ...]
    known_from: str

    def __repr__(self) -> str:
        return (
            f"WeightsInfo({self.network!r}, {self.weights!r}, {self.preprocessing}, {self.image}, "
            f"classes={len(self.class_names)}, known_from={self.known_from!r})"
        )


def weights_info(network: str, weights: str | os.PathLike[str]) -> WeightsInfo:
    """Says how images become the input of a network with these weights, and names its outputs.

    Files of torchvision are known by their names. A file of timm is described by the config.json beside it, as on the
    Hugging Face Hub. Other files of torchvision or timm are assumed to be like most: 256 pixels for the shorter side,
    the central 224, and the mean and standard deviation of ImageNet.

    Args:
        network: A name of `zoo.list_models()`.
        weights: As in `zoo.load`: the name of weights, a file, or a run or its folder.

    Returns:
        A `WeightsInfo`.

    Raises:
        ValueError: If there are no such weights, or nothing is known about a file.
        OSError: If the file cannot be read.

    Example:

    >>> import zoo
    >>> info = zoo.weights_info("resnet50_keras", "imagenet")
    >>> info.preprocessing.reverse_channels, info.image.size, info.class_names[0]
    (True, (224, 224), 'tench')
    """
    entry_of(network)
    name = os.fspath(weights)
    card = next((card for card in cards() if (card.network, card.weights) == (network, name)), None)
    if card is not None:
        return _info(network, name, card.preprocessing, card.reader, card.class_names, "its card")
    if (row := find(network, weights)) is not None:
        names = imagenet.class_names() if row.name == "imagenet" else ()
        return _info(network, name, row.preprocessing, row.image, names, "its publisher")
    folder = Path(weights)
    if (folder / "run.json").is_file():
        from ..training.runs import open_run
        from .archive import read_input_shape

        record = open_run(folder).source
        shape = read_input_shape(weights_file(network, weights))
        reader = recorded_reader(record, shape or ())
        return _info(network, name, record["preprocessing"], reader, tuple(record["class_names"]), "the run")
    return _info_of_file(network, weights_file(network, weights))


def load_as_described(info: WeightsInfo) -> "keras.Model":
    """Loads the network of weights, at the size of the images that they expect."""
    arguments: dict[str, Any] = {}
    if info.image is not None and info.image.size is not None:
        arguments["input_shape"] = in_present_order((*info.image.size, info.image.channels or 3))
    return load(info.network, info.weights, **arguments)


def _info(
    network: str, weights: str, preprocessing: Any, image: Any, class_names: tuple[str, ...], known_from: str
) -> WeightsInfo:
    reader = ImageReader.from_dict(image) if image is not None and not isinstance(image, ImageReader) else image
    return WeightsInfo(network, weights, Preprocessing.from_dict(preprocessing), reader, class_names, known_from)


def _info_of_file(network: str, file: Path) -> WeightsInfo:
    from .readers import read

    arrays = read(file)
    naming = naming_of(network, arrays)
    classes = naming.classes(arrays, entry_of(network).family.anchors)
    names = imagenet.class_names() if classes == _IMAGENET else ()
    if (config := _read_config(file)) is not None:
        return _info(network, str(file), *_records_of(config, file), names, "the config.json of timm")
    library, rows = naming.library, entry_of(network).weights
    if library == "keras.applications" and rows:
        return _info(network, str(file), rows[0].preprocessing, rows[0].image, names, library)
    if library in ("torchvision", "timm", "torchvision or timm") and entry_of(network).family.input_shape[-1:] == (3,):
        reader = imagenet.torch_reader(file, library)
        return _info(
            network, str(file), imagenet.TORCH, reader, names, "what most weights of torchvision and timm take"
        )
    raise ValueError(
        "Expected weights for which it is known how images become inputs: by name, of a run, or in a file of "
        f"torchvision, timm or keras.applications. Received: {str(file)!r}"
    )


def _read_config(file: Path) -> dict[str, Any] | None:
    """Reads the `pretrained_cfg` beside a file of timm, if there is one."""
    try:
        config = json.loads(file.with_name("config.json").read_text(encoding="utf-8"))["pretrained_cfg"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return config if isinstance(config, dict) else None


def _records_of(config: dict[str, Any], file: Path) -> tuple[imagenet.Record, imagenet.Record]:
    try:
        return imagenet.timm_records(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected a config.json of timm with a square input and a centre crop beside {str(file)!r}. "
            f"Received: {error}"
        ) from None
