"""Knowledge distillation: a network learns from the probabilities that a trained one, its teacher, gives for an image.

    targets = (1 - w) y + w softmax(teacher(x))        for labels y and images x, as they are augmented

With the cross-entropy this is the loss of Hinton et al. at temperature 1. The teacher sees the same augmented images as
the network, as in Beyer et al. A run keeps a copy of its teacher, so it can be resumed without the original.

Hinton et al., Distilling the Knowledge in a Neural Network, 2015, https://arxiv.org/abs/1503.02531
Beyer et al., Knowledge distillation: A good teacher is patient and consistent, 2022, https://arxiv.org/abs/2106.05237
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from ..data import Preprocessing, Source
from ..weights.archive import load_network
from ..weights.info import load_as_described, weights_info
from .evaluation import check_shapes
from .recipe import Recipe
from .runs import open_complete_run
from .start import read_model
from .teacher import split_teacher

TEACHER = "teacher.keras"


def read_teacher(recipe: Recipe, source: Source, folder: Path) -> keras.Model | None:
    """Reads the teacher of a recipe, or the copy in the folder of a run.

    Args:
        recipe: The recipe.
        source: The data of the run. The teacher is changed to take images as they are preprocessed here.
        folder: The folder of the run.

    Returns:
        The teacher, or None if the recipe has none.

    Raises:
        ValueError: If the inputs or classes of the teacher do not fit the source.
    """
    if recipe.teacher is None:
        return None
    if (folder / TEACHER).is_file():
        return load_network(folder / TEACHER)
    if source.task != "classification":
        raise ValueError(f"Expected a classification to learn from a teacher. Received: a {source.task}")
    model, preprocessing, class_names = _read(recipe.teacher, source)
    if class_names and tuple(class_names) != tuple(source.class_names):
        raise ValueError(
            f"Expected the classes of the teacher {recipe.teacher}: {', '.join(class_names)}. "
            f"Received: {', '.join(source.class_names)}"
        )
    if preprocessing is None or preprocessing == source.preprocessing:
        return model
    if preprocessing.reverse_channels != source.preprocessing.reverse_channels:
        raise ValueError(
            f"Expected the order of the channels that the teacher {recipe.teacher} takes: {preprocessing}. "
            f"Received: {source.preprocessing}"
        )
    return _rescale(model, source.preprocessing, preprocessing)


def _rescale(model: keras.Model, given: Preprocessing, wanted: Preprocessing) -> keras.Model:
    """Returns a teacher that takes images with the preprocessing `given`, from one that takes them as `wanted`."""
    scale = wanted.scale / given.scale
    (mean, std), (mean_wanted, std_wanted) = (map(np.array, (p.mean, p.std)) for p in (given, wanted))
    factor, offset = scale * std / std_wanted, (scale * mean - mean_wanted) / std_wanted
    x = keras.Input(model.input_shape[1:])
    rescaling = keras.layers.Rescaling(factor.tolist(), offset.tolist(), dtype="float32", name="rescale_for_teacher")
    return keras.Model(x, model(rescaling(x)), name=model.name)


def mix(teacher: keras.Model, weight: float, images: Any, labels: Any) -> Any:
    """Returns the targets of a batch: labels and the teacher's probabilities, weighted."""
    told = ops.softmax(ops.cast(teacher(images, training=False), "float32"))
    return (1 - weight) * ops.cast(labels, "float32") + weight * ops.stop_gradient(told)


def _read(teacher: str, source: Source) -> tuple[keras.Model, Preprocessing | None, tuple[str, ...]]:
    """Reads a teacher as a network from inputs to logits, with its preprocessing and class names if they are known."""
    note = f", for the teacher {teacher}"
    if (named := split_teacher(teacher)) is not None:
        info = weights_info(*named)
        model, preprocessing, class_names = load_as_described(info), info.preprocessing, info.class_names
    elif (Path(teacher) / "run.json").is_file():
        run = open_complete_run(teacher)
        model, class_names = load_network(run.model_path), tuple(run.source["class_names"])
        preprocessing = Preprocessing.from_dict(run.source["preprocessing"])
    else:
        start = read_model(teacher, source, note)
        return start.network, start.source.preprocessing, ()
    check_shapes(model, source, note)
    return model, preprocessing, class_names
