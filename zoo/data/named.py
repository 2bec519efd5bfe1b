"""The data sources with a name: those that come with the package, and those that Keras downloads."""

from collections.abc import Callable

import numpy as np

from . import embedded
from .arrays import from_arrays
from .source import Source

_TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_HUNDRED = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


def _keras_dataset(name: str, class_names: tuple[str, ...] | None = None) -> Callable[[], Source]:
    """Makes the loader of a data set that Keras downloads, checks and keeps."""

    def load() -> Source:
        import keras

        try:
            (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
        except Exception as error:  # Keras raises a plain one if it cannot download
            raise OSError(
                f"{name} cannot be downloaded: {error}. Without a network, give the path of a file with the data"
            ) from error
        if x_train.ndim == 4 and keras.config.image_data_format() == "channels_first":
            x_train, x_test = (np.ascontiguousarray(images.transpose(0, 2, 3, 1)) for images in (x_train, x_test))
        arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
        return from_arrays(name, arrays, class_names=class_names)

    return load


SOURCES: dict[str, Callable[[], Source]] = {
    "digits": embedded.digits,
    "digits_signals": embedded.digits_signals,
    "digits_masks": embedded.digits_masks,
    "wine": embedded.wine,
    "breast_cancer": embedded.breast_cancer,
    "diabetes": embedded.diabetes,
    "mnist": _keras_dataset("mnist"),
    "fashion_mnist": _keras_dataset("fashion_mnist", _FASHION),
    "cifar10": _keras_dataset("cifar10", _TEN),
    "cifar100": _keras_dataset("cifar100", tuple(_HUNDRED.split())),
}

# The licences of data sources, for the cards of published weights.
LICENCES = {
    **dict.fromkeys(
        ("digits", "digits_signals", "digits_masks"),
        "CC BY 4.0 (UCI Machine Learning Repository, Optical Recognition of Handwritten Digits)",
    ),
    "wine": "CC BY 4.0 (UCI Machine Learning Repository, Wine)",
    "breast_cancer": "CC BY 4.0 (UCI Machine Learning Repository, Breast Cancer Wisconsin, Diagnostic)",
    "diabetes": "none stated; the authors ask to be cited: Efron, Hastie, Johnstone and Tibshirani 2004",
    "mnist": "CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
    "cifar10": "none stated; the authors ask to be cited: Krizhevsky 2009",
    "cifar100": "none stated; the authors ask to be cited: Krizhevsky 2009",
}
