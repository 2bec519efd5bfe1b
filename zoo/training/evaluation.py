"""Evaluates networks: resolves the network and its data, and measures the loss and the figures of the task."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras

from ..data import Batches, Preprocessing, Source, load_source
from ..data.augmentation import Augmentation
from ..data.batches import batches_of, raise_failures
from ..data.crops import COUNT, Centres, TenCrops, crop_centres
from ..data.streaming.photos import Photos
from ..devices.selection import Devices
from ..networks.registry import in_present_order
from ..tasks import task_of
from ..tasks.task import measured
from ..weights.cards import Card, card
from ..weights.loading import load
from .learner import build_metrics, jit_compile
from .meter import meter
from .runs import Run, open_run
from .tta import TEN_CROP, resolve_views, ten_crop_model, tta_model, weights_of

EVALUATION_BATCH = 256


def evaluate(
    run_or_model: "Run | str | Path | keras.Model",
    data: str | Source | None = None,
    *,
    weights: str | None = None,
    tta: bool | str = False,
    verbose: bool = True,
) -> dict[str, Any]:
    """Measures a network on the test examples of a source.

    Args:
        run_or_model: A run or its folder, a model of logits (of predictions, for a regression), or with `weights` the
            name of a network. Inputs are preprocessed as the run's record, the source or the card of the weights says.
        data: The name of a data source, or a `Source`. Default: the one that the run or the weights were trained on.
        weights: The name of weights that come with the package, such as "cifar10".
        tta: Whether to measure the average over several views of each image too: "mirror", "shift" or "mirror+shift",
            as in `tta_model`. True takes those that the network saw in training: images are mirrored or shifted only if
            the recipe's augmentation did so. "ten-crop" takes crops of the four corners and the centre, each also
            mirrored, from images larger than the network's input. For streamed photos, the shorter side becomes the
            source's `shorter`, or else 8/7 of the network's input: 256 pixels for 224.
        verbose: Whether to show on standard error how far the measurement is: on a terminal, or if it takes minutes.

    Returns:
        "loss", the figures of the task, and "examples": for a classification the cross-entropy and "accuracy"; for a
        regression the squared error in units of the variance of the training targets (those of the run, or of `data`
        for a model of your own), "r2", "mae" and "rmse", means over the targets; for a segmentation the cross-entropy,
        "mean_iou" and "accuracy", of the pixels. With `tta` also "tta_loss" and so on, and "tta_views", the name of the
        views.

    Raises:
        ValueError: If there is no such run, source or weights, if inputs or targets do not fit the network, if there
            are no such views, or if images are too small for ten crops.

    Example:

    >>> import zoo
    >>> model = zoo.build("plain_mlp", input_shape=(8, 8, 1))
    >>> zoo.evaluate(model, data="digits")["examples"]
    359
    """
    views = resolve_views(tta, augmentation_of(run_or_model, weights)) if tta else None
    model, source, preprocessing = resolve_model_and_data(run_or_model, data, weights, cropped=views == TEN_CROP)
    what = "test examples" if verbose else ""
    figures = {**measure(model, source, preprocessing, what=what), "examples": len(source.test_inputs)}
    if views is None:
        return figures
    averaged = measure_views(model, source, preprocessing, views, what and f"{what}, {views}")
    return {**figures, **{f"tta_{name}": figure for name, figure in averaged.items()}, "tta_views": views}


def augmentation_of(run_or_model: "Run | str | Path | keras.Model", weights: str | None = None) -> Augmentation | None:
    """The augmentation with which a run or weights were trained; None for a model."""
    if weights is not None:
        return Augmentation(**card(str(run_or_model), weights).recipe["augment"])
    return None if isinstance(run_or_model, keras.Model) else open_run(run_or_model).recipe.augment


def resolve_model_and_data(
    run_or_model: "Run | str | Path | keras.Model",
    data: str | Source | None = None,
    weights: str | None = None,
    task: str | None = None,
    cropped: bool = False,
) -> tuple[keras.Model, Source, Preprocessing]:
    """Loads the network, the data and the preprocessing that the arguments of `evaluate` name.

    Raises:
        ValueError: If the data do not fit the network, or are not of the task, if one is named; or if they are to be
            `cropped`, and are not larger than the network's input.
    """
    if weights is not None:
        chosen = card(str(run_or_model), weights)
        model = load(chosen.network, weights)
        source = load_source(chosen.data["name"]) if data is None else load_source(check_named(data), like=like(chosen))
        check_classes(source, chosen.class_names, f"{chosen.network}, {weights}")
        preprocessing = Preprocessing.from_dict(chosen.preprocessing)
    elif isinstance(run_or_model, keras.Model):
        if data is None:
            raise ValueError("Expected data for a model, such as data='digits'. Received: data=None")
        model, source = run_or_model, load_source(check_named(data))
        preprocessing = source.preprocessing
    else:
        run = open_run(run_or_model)
        model, (source, preprocessing) = load(run.path), resolve_data(run, data)
    if task not in (None, source.task):
        raise ValueError(f"Expected data for a {task}. Received: {source.name}, for a {source.task}")
    if cropped:
        source = _crop_to(model, source)
    check_shapes(model, source)
    return model, source, preprocessing


def _crop_to(model: keras.Model, source: Source) -> Source:
    """Takes the centre crops of images in memory that a network needs; streamed photos have these already."""
    shape, given = source.input_shape, model.input_shape[1:]
    sides = given[1:] if keras.config.image_data_format() == "channels_first" else given[:-1]
    if task_of(source).per_pixel:
        raise ValueError(
            f"Expected classification or regression for ten crops. Received: {source.name}, for {source.task}"
        )
    if len(shape) == 3 and isinstance(source.test_inputs, Photos):
        return source
    room = [have - need for have, need in zip(shape, sides, strict=False) if need is not None]
    if len(shape) != 3 or len(room) != 2 or min(room) < 0 or max(room) == 0:
        raise ValueError(
            f"Expected images larger than the network's input, {sides}, or streamed photos (stream=True), for ten "
            f"crops. Received: {source.name}, with inputs of shape {shape}"
        )
    return crop_centres(source, sides)


def resolve_data(run: Run, data: str | Source | None = None) -> tuple[Source, Preprocessing]:
    """Loads the data of a run, or other data of the same classes, and the preprocessing of its network."""
    source = load_source(run.source) if data is None else load_source(check_named(data), like=run.source)
    check_targets(source, run)
    return source, Preprocessing.from_dict(run.source["preprocessing"])


def like(card: Card) -> dict[str, Any]:
    """What `load_source` takes to read other data as those of a card's weights."""
    image = card.image or {}
    size = {"image_size": list(card.input_shape[:2]), "resize": image.get("resize", "stretch")}
    size |= {"shorter": image.get("shorter")}
    about = {"name": card.data["name"], "class_names": list(card.class_names), "options": size}
    return about | {"image": card.reader and card.reader.to_dict()}


def check_named(data: str | Source) -> str | Source:
    """Raises a ValueError for arrays, of which `load_source` would choose a fifth for testing."""
    if not isinstance(data, (str, os.PathLike, Source)):
        raise ValueError(
            "Expected data as a name, a path or a zoo.Source, such as zoo.load_source({'x_train': ..., ...}). "
            f"Received: {type(data).__name__}"
        )
    return data


def check_targets(source: Source, run: Run) -> None:
    """Raises a ValueError unless a source has the task of a run, and its classes or targets in the same order."""
    task, names = task_of(run.source).name, tuple(run.source.get("target_names", ()))
    if (source.task, source.target_names) != (task, names):
        of, theirs = (f" of {_shorten(targets)}" if targets else "" for targets in (names, source.target_names))
        raise ValueError(
            f"Expected data for the {task}{of} that {run.path} has learnt. "
            f"Received: {source.name}, for a {source.task}{theirs}"
        )
    check_classes(source, run.source["class_names"], str(run.path))


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
    """Raises a ValueError unless a model takes the inputs of a source, and has an output for each class or target."""
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"Expected a built model with one input. Received: model={model!r}")
    shape, given = network_shape(source), model.input_shape[1:]
    fits = len(given) == len(shape) and all(ours in (None, theirs) for ours, theirs in zip(given, shape, strict=True))
    if not fits or model.output_shape[-1] != source.outputs:
        what, outputs = "images" if len(shape) == 3 else "inputs", "classes" if source.classes else "targets"
        raise ValueError(
            f"Expected {what} of shape {given} in {model.output_shape[-1]} {outputs}{note}. "
            f"Received: {source.name}, with {what} of shape {shape} in {source.outputs} {outputs}"
        )
    check_task(model, source)


def check_task(model: keras.Model, source: Source) -> None:
    """Raises a ValueError unless a model has outputs for each pixel, or for a whole input, as the task has them."""
    axes = len(source.input_shape) if task_of(source).per_pixel else 1
    if len(model.output_shape) != 1 + axes:
        raise ValueError(
            f"Expected a network for {source.task}, with outputs of {1 + axes} axes. "
            f"Received: {model.name}, with outputs of shape {model.output_shape}"
        )


def measure(
    model: keras.Model,
    source: Source,
    preprocessing: Preprocessing,
    part: str = "test",
    limit: int | None = None,
    batch: int = EVALUATION_BATCH,
    what: str = "",
) -> dict[str, float]:
    """Measures the "loss" and the figures of a model on a part of a source, or on its first examples.

    It shows how far it is if `what` says what it measures.
    """
    return _make_evaluator(model, source, batches_of(source, part, preprocessing, batch, limit), what)()


def measure_views(
    model: keras.Model, source: Source, preprocessing: Preprocessing, views: str, what: str = ""
) -> dict[str, float]:
    """Measures the "loss" and the figures of the average over views of each test image; see `tta_model`."""
    if views == TEN_CROP:
        return _measure_ten_crops(model, source, preprocessing, what)
    batch = EVALUATION_BATCH // len(weights_of(views))
    return measure(tta_model(model, views), source, preprocessing, batch=batch, what=what)


def _measure_ten_crops(model: keras.Model, source: Source, preprocessing: Preprocessing, what: str) -> dict[str, float]:
    inputs = source.test_inputs
    crops: Any = TenCrops(inputs.images if isinstance(inputs, Centres) else inputs, source.input_shape[:2])
    size = EVALUATION_BATCH // COUNT
    batches = Batches(crops, source.test_targets, source.outputs, preprocessing, size, task=source.task)
    return _make_evaluator(ten_crop_model(model, network_shape(source)), source, batches, what)()


def make_evaluator(
    model: keras.Model,
    source: Source,
    preprocessing: Preprocessing,
    part: str = "test",
    limit: int | None = None,
) -> Callable[[], dict[str, float]]:
    """Makes a function that does what `measure` does, with the current weights of the model."""
    return _make_evaluator(model, source, batches_of(source, part, preprocessing, EVALUATION_BATCH, limit))


def _make_evaluator(
    model: keras.Model, source: Source, batches: Batches, what: str = ""
) -> Callable[[], dict[str, float]]:
    task = task_of(source)
    compiled = keras.Model(model.inputs, model.outputs)
    compiled.compile(loss=task.loss(source), metrics=task.metrics(source, model), jit_compile=jit_compile())
    build_metrics(compiled, batches)

    def evaluate_again() -> dict[str, float]:
        with raise_failures(batches), meter(what, batches.batches_per_epoch) as shown:
            return measured(task, compiled.evaluate(batches, return_dict=True, verbose=0, callbacks=shown))

    return evaluate_again


def evaluation_batches(
    source: Source, preprocessing: Preprocessing, part: str = "test", devices: Devices | None = None
) -> Batches:
    """Batches a part of a source in order and without augmentation, for the devices to share if they are given."""
    if devices is None:
        return batches_of(source, part, preprocessing, EVALUATION_BATCH)
    size = devices.round_up(EVALUATION_BATCH)
    return batches_of(source, part, preprocessing, size, shard=devices.hosts.shard)


def network_shape(source: Source) -> tuple[int, ...]:
    """The shape of an input, as `keras.config.image_data_format()` orders it."""
    return in_present_order(source.input_shape)
