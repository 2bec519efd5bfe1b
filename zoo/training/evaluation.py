"""Evaluates networks: resolves the network and its data, and measures loss and accuracy."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras

from ..data import Batches, Preprocessing, Source, load_source
from ..data.augmentation import Augmentation
from ..devices.selection import Devices
from ..networks.registry import in_present_order
from ..weights.cards import card
from ..weights.loading import load
from .learner import build_metrics, jit_compile, metrics
from .runs import Run, open_run
from .tta import resolve_views, tta_model, weights_of

EVALUATION_BATCH = 256


def evaluate(
    run_or_model: "Run | str | Path | keras.Model",
    data: str | Source | None = None,
    *,
    weights: str | None = None,
    tta: bool | str = False,
) -> dict[str, Any]:
    """Measures loss and accuracy on the test images of a source.

    Args:
        run_or_model: A run or its folder, a model of logits, or with `weights` the name of a network. Images are
            preprocessed as the run's record, the source or the card of the weights says.
        data: The name of a data source, or a `Source`. Default: the one that the run or the weights were trained on.
        weights: The name of weights that come with the package, such as "cifar10".
        tta: Whether to measure the average over several views of each image too: "mirror", "shift" or "mirror+shift",
            as in `tta_model`. True takes those that the network saw in training: images are mirrored or shifted only if
            the recipe's augmentation did so.

    Returns:
        "loss" (cross-entropy), "accuracy" and "examples"; with `tta` also "tta_loss", "tta_accuracy" and "tta_views",
        the name of the views.

    Raises:
        ValueError: If there is no such run, source or weights, if the images or classes do not fit the network, or if
            there are no such views.

    Example:

    >>> import zoo
    >>> model = zoo.build("plain_mlp", input_shape=(8, 8, 1))
    >>> zoo.evaluate(model, data="digits")["examples"]
    359
    """
    views = resolve_views(tta, augmentation_of(run_or_model, weights)) if tta else None
    model, source, preprocessing = resolve_model_and_data(run_or_model, data, weights)
    figures = {**accuracy_and_loss(model, source, preprocessing), "examples": len(source.test_inputs)}
    if views is None:
        return figures
    averaged = measure_views(model, source, preprocessing, views)
    return {**figures, **{f"tta_{name}": figure for name, figure in averaged.items()}, "tta_views": views}


def augmentation_of(run_or_model: "Run | str | Path | keras.Model", weights: str | None = None) -> Augmentation | None:
    """The augmentation with which a run or weights were trained; None for a model."""
    if weights is not None:
        return Augmentation(**card(str(run_or_model), weights).recipe["augment"])
    return None if isinstance(run_or_model, keras.Model) else open_run(run_or_model).recipe.augment


def resolve_model_and_data(
    run_or_model: "Run | str | Path | keras.Model", data: str | Source | None = None, weights: str | None = None
) -> tuple[keras.Model, Source, Preprocessing]:
    """Loads the network, the data and the preprocessing that the arguments of `evaluate` name."""
    if weights is not None:
        chosen = card(str(run_or_model), weights)
        model, source = load(chosen.network, weights), load_source(chosen.data["name"] if data is None else data)
        check_classes(source, chosen.class_names, f"{chosen.network}, {weights}")
        preprocessing = Preprocessing.from_dict(chosen.preprocessing)
    elif isinstance(run_or_model, keras.Model):
        if data is None:
            raise ValueError("Expected data for a model, such as data='digits'. Received: data=None")
        model, source = run_or_model, load_source(data)
        preprocessing = source.preprocessing
    else:
        run = open_run(run_or_model)
        model, (source, preprocessing) = load(run.path), resolve_data(run, data)
    check_shapes(model, source)
    return model, source, preprocessing


def resolve_data(run: Run, data: str | Source | None = None) -> tuple[Source, Preprocessing]:
    """Loads the data of a run, or other data of the same classes, and the preprocessing of its network."""
    source = load_source(run.source if data is None else data)
    check_classes(source, run.source["class_names"], str(run.path))
    return source, Preprocessing.from_dict(run.source["preprocessing"])


def check_classes(source: Source, trained: Iterable[str], by: str) -> None:
    """Raises a ValueError unless a source has the classes that a network was trained on, in the same order.

    Classes that are only numbered have no names to compare.
    """
    trained = tuple(trained)
    if source.class_names not in (trained, tuple(map(str, range(len(trained))))):
        raise ValueError(
            f"Expected the classes that {by} was trained on: {_shorten(trained)}. "
            f"Received: {source.name}, with {_shorten(source.class_names)}"
        )


def _shorten(names: tuple[str, ...], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def check_shapes(model: keras.Model, source: Source, note: str = "") -> None:
    """Raises a ValueError unless a model takes the images of a source and has an output for each class."""
    shape = network_shape(source)
    fits = all(ours in (None, theirs) for ours, theirs in zip(model.input_shape[1:], shape, strict=True))
    if not fits or model.output_shape[-1] != source.classes:
        raise ValueError(
            f"Expected images of shape {model.input_shape[1:]} in {model.output_shape[-1]} classes{note}. "
            f"Received: {source.name}, with images of shape {shape} in {source.classes} classes"
        )


def accuracy_and_loss(
    model: keras.Model,
    source: Source,
    preprocessing: Preprocessing,
    part: str = "test",
    limit: int | None = None,
    batch: int = EVALUATION_BATCH,
) -> dict[str, float]:
    """Measures "accuracy" and "loss" of a model of logits on a part of a source, or on its first images."""
    return make_evaluator(model, source, preprocessing, part, limit, batch)()


def measure_views(model: keras.Model, source: Source, preprocessing: Preprocessing, views: str) -> dict[str, float]:
    """Measures "accuracy" and "loss" of the average over views of each test image; see `tta_model`."""
    batch = EVALUATION_BATCH // len(weights_of(views))
    return accuracy_and_loss(tta_model(model, views), source, preprocessing, batch=batch)


def make_evaluator(
    model: keras.Model,
    source: Source,
    preprocessing: Preprocessing,
    part: str = "test",
    limit: int | None = None,
    batch: int = EVALUATION_BATCH,
) -> Callable[[], dict[str, float]]:
    """Makes a function that measures `accuracy_and_loss` of the model with its current weights."""
    images, labels = (getattr(source, f"{part}_{what}")[:limit] for what in ("inputs", "targets"))
    compiled = keras.Model(model.inputs, model.outputs)
    compiled.compile(loss="categorical_crossentropy", metrics=metrics(), jit_compile=jit_compile())
    batches = Batches(images, labels, source.classes, preprocessing, batch)
    build_metrics(compiled, batches)

    def measure() -> dict[str, float]:
        figures = compiled.evaluate(batches, return_dict=True, verbose=0)
        return {"loss": figures["cross_entropy"], "accuracy": figures["accuracy"]}

    return measure


def evaluation_batches(
    source: Source, preprocessing: Preprocessing, part: str = "test", devices: Devices | None = None
) -> Batches:
    """Batches a part of a source in order and without augmentation, for the devices to share if they are given."""
    images, labels = getattr(source, f"{part}_inputs"), getattr(source, f"{part}_targets")
    if devices is None:
        return Batches(images, labels, source.classes, preprocessing, EVALUATION_BATCH)
    size = devices.round_up(EVALUATION_BATCH)
    return Batches(images, labels, source.classes, preprocessing, size, shard=devices.hosts.shard)


def network_shape(source: Source) -> tuple[int, ...]:
    """The shape of an image, as `keras.config.image_data_format()` orders it."""
    return in_present_order(source.input_shape)
