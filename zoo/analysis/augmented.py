"""Shows how the augmentation of a recipe changes training images in some epochs."""

from typing import NamedTuple

import numpy as np

from ..data.augmentation.checks import check_augmentation
from ..data.making import BatchMaker, find_brightest
from ..data.rows import select_rows
from ..data.source import Source
from ..tasks import task_of
from ..training.recipe import Recipe


class Augmented(NamedTuple):
    """Training images and what becomes of them.

    Attributes:
        recipe: The name of the recipe.
        labels: The class of each image; empty text for other targets.
        epochs: The epochs, counted from 1.
        images: For each training image, the image as it is evaluated and then as it is in each of the epochs: numbers
            from 0 to 1, of shape (height, width, 1 or 3).
    """

    recipe: str
    labels: tuple[str, ...]
    epochs: tuple[int, ...]
    images: list[list[np.ndarray]]


def augmented(recipe: Recipe, source: Source, examples: int = 6, epochs: int = 7) -> Augmented:
    """Augments some training images as in epochs spread over the run. They are mixed only with each other.

    Args:
        recipe: The recipe, whose `augment` says what happens to an image.
        source: The data.
        examples: How many images, spread over the training part.
        epochs: How many epochs.

    Returns:
        The images before and after augmentation, with their labels and the epochs.

    Raises:
        ValueError: If the source has no grey or RGB images, or they do not suit the augmentation.

    Example:

    >>> import zoo
    >>> from zoo.analysis.augmented import augmented
    >>> found = augmented(zoo.get_recipe("resnet20_digits"), zoo.load_source("digits"), examples=2)
    >>> len(found.images), len(found.images[0]), found.images[0][0].shape
    (2, 8, (8, 8, 1))
    """
    if len(source.input_shape) != 3 or source.input_shape[-1] not in (1, 3):
        raise ValueError(
            f"Expected grey or RGB images. Received: {source.name}, with inputs of shape {source.input_shape}"
        )
    task, count = task_of(source), len(source.train_targets)
    check_augmentation(recipe.augment, source.train_inputs, task)
    chosen = np.unique(np.linspace(0, count - 1, min(examples, count)).astype(int))
    inputs, targets = (select_rows(part, chosen) for part in (source.train_inputs, source.train_targets))
    brightest = find_brightest(inputs, source.preprocessing)
    seen = np.unique(np.linspace(0, recipe.epochs - 1, epochs).astype(int))
    about = inputs, targets, source.outputs, source.preprocessing, len(chosen), task
    maker = BatchMaker(*about, recipe.seed, recipe.augment, recipe.epochs, brightest)
    columns = [BatchMaker(*about).make(0, 0)[0]]
    columns += [maker.make(epoch, 0)[0][np.argsort(maker.order(epoch))] for epoch in seen.tolist()]
    shown = [_to_pixels(column, source, brightest) for column in columns]
    labels = tuple(source.class_names[label] if task.name == "classification" else "" for label in targets)
    return Augmented(recipe.name, labels, tuple((seen + 1).tolist()), [list(row) for row in zip(*shown, strict=True)])


def _to_pixels(inputs: np.ndarray, source: Source, brightest: float) -> np.ndarray:
    """Turns the inputs of a network back to pixels, from 0 to 1."""
    about = source.preprocessing
    mean, std = np.array(about.mean, "float32"), np.array(about.std, "float32")
    pixels = (inputs * std + mean) / (about.scale * brightest)
    return np.clip(pixels[..., ::-1] if about.reverse_channels else pixels, 0, 1)
