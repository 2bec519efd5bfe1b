"""The cards of the weights that ship with the package: origin, training and figures of each set.

    zoo/weights/shipped/resnet20-cifar10.weights.h5
    zoo/weights/shipped/resnet20-cifar10.json          its card, which holds the file's SHA-256

`keras-skip publish RUN NAME` writes such a pair. A new pair is a new set of weights; nothing else lists them.
"""

import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.images import ImageReader

from ..networks.catalogue import MODELS

SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class Card:
    """Describes a set of weights. Accuracies are fractions.

    Attributes:
        network: A name of `zoo.list_models()`.
        weights: The name for `zoo.load`.
        file, sha256: The file of the weights, next to the card.
        arguments: Arguments of the builder that differ from the registry's.
        input_shape: (height, width, channels).
        class_names: One for each logit.
        parameters: Number of trainable parameters.
        preprocessing: For `zoo.Preprocessing.from_dict`.
        image: For `export.ImageReader.from_dict`; None in older cards. `reader` knows what that means.
        data: Name, number of images, fingerprint and licence of the data.
        limits: What a reader should know before comparing the figures with others.
        test_accuracy, test_loss: On the test images.
        train_accuracy: On the training images, without augmentation.
        first_accuracy: On the first `FIRST` test images, for a quick check of the weights.
        onnx_accuracy, onnx_max_abs_diff: Of the exported network under onnxruntime: on the test images, and the largest
            difference of a probability from Keras's.
        tta_accuracy, tta_views: On the test images, averaged over these views of each image; see `zoo.tta_model`. None
            if the network saw none of them in training.
        paper_error: The error that the paper reports.
        command, recipe, seed, seconds: How they were trained, and how long it took.
        chosen_by: How this run was chosen among others.
        revision, versions, machine, date: Those of the training run.
    """

    network: str
    weights: str
    file: str
    sha256: str
    arguments: dict[str, Any]
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    parameters: int
    preprocessing: dict[str, Any]
    data: dict[str, Any]
    limits: str
    test_accuracy: float
    test_loss: float
    train_accuracy: float
    first_accuracy: float
    onnx_accuracy: float
    onnx_max_abs_diff: float
    paper_error: str
    command: str
    recipe: dict[str, Any]
    seed: int
    seconds: float
    chosen_by: str
    revision: str | None
    versions: dict[str, str]
    machine: dict[str, Any]
    date: str
    tta_accuracy: float | None = None
    tta_views: str | None = None
    image: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Card(network={self.network!r}, weights={self.weights!r}, test_accuracy={self.test_accuracy:.4f})"

    @property
    def reader(self) -> "ImageReader | None":
        """Reads image files as the network takes them; None if its pixels are not from 0 to 255."""
        from ..data.recorded import recorded_reader

        return recorded_reader({"image": self.image, "preprocessing": self.preprocessing}, self.input_shape)

    def text(self) -> str:
        """The JSON that its file holds."""
        fields = {name: value for name, value in asdict(self).items() if name != "image" or value is not None}
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


# How many test images `first_accuracy` is measured on.
FIRST = 1000


def read_card(path: Path) -> Card:
    """Reads the card in a file."""
    figures = json.loads(path.read_text(encoding="utf-8"))
    lists = {name: tuple(figures[name]) for name in ("input_shape", "class_names")}
    return Card(**{**figures, **lists})


def choose_paths(folder: Path, network: str, weights: str, overwrite: bool) -> tuple[Path, Path]:
    """Chooses the paths of the weights of a network and of their card.

    Raises:
        ValueError: If the name is not an identifier, or the network has none in the zoo.
        FileExistsError: If one of them exists and may not be overwritten.
    """
    if network not in MODELS:
        raise ValueError(
            "Expected a run of a network of the zoo, since weights are published for its name. "
            f"Received: a run of {network!r}"
        )
    if not weights.isidentifier():
        raise ValueError(f"Expected a name for the weights such as 'cifar10'. Received: {weights!r}")
    pair = folder / f"{network}-{weights}.weights.h5", folder / f"{network}-{weights}.json"
    for path in pair:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{str(path)!r} already exists. Choose another name, or overwrite it")
    return pair


@functools.cache
def cards() -> tuple[Card, ...]:
    """Reads the cards of all weights in the package, in the order of network and name."""
    return tuple(sorted(map(read_card, SHIPPED.glob("*.json")), key=lambda card: (card.network, card.weights)))


def card(network: str, weights: str) -> Card:
    """Looks up the card of weights that ship with the package.

    Args:
        network: A name of `zoo.list_models()`.
        weights: The name of the weights, such as "cifar10".

    Returns:
        A `Card`.

    Raises:
        ValueError: If the package has no such weights.

    Example:

    >>> import zoo
    >>> card = zoo.card("highway_mlp", "digits")
    >>> card.command
    'keras-skip train highway_mlp_digits'
    >>> preprocess = zoo.Preprocessing.from_dict(card.preprocessing)
    """
    found = {f"{c.network}, {c.weights}": c for c in cards()}
    try:
        return found[f"{network}, {weights}"]
    except KeyError:
        choices = [name for name in found if name.startswith(f"{network}, ")] or found
        raise ValueError(
            f"Expected weights that come with the package: {'; '.join(choices) or 'there are none'}. "
            f"Received: {network}, {weights}"
        ) from None
