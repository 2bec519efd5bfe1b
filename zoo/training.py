"""Training: compile, schedule, fit, and the folder that keeps it all; evaluation."""

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras

from .callbacks import Checkpoint, Events, History, SetEpoch, StopWhenNotFinite, UseAverages
from .counting import count
from .data import Batches, Preprocessing, Source, load_source
from .learner import jit_compile, make_learner, metrics
from .loading import load
from .recipes import get_recipe
from .registry import build
from .runs import Run, open_run, refuse_existing, replacing, revision, start_run, update
from .settings import Recipe, plain

EVALUATION_BATCH = 256


def train(
    recipe: str | Recipe,
    data: str | Source | None = None,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **overrides: Any,
) -> Run:
    """Trains a network and keeps everything about it in a folder.

    Sets Python's, NumPy's and Keras's global seeds to the recipe's.

    Args:
        recipe: A name of `zoo.list_recipes()`, or a `Recipe`.
        data: The name of a data source, or a `Source`. Default: the recipe's.
        out: The folder, which must not exist. Default: runs/ and the recipe's name.
        overwrite: Whether a run that is there is replaced.
        callbacks: Keras callbacks beside our own, such as one that shows progress.
        **overrides: Settings of the recipe, such as `epochs=5`, or `**{"optimizer.lr": 0.2}`.

    Returns:
        The `Run`, with its results.

    Raises:
        ValueError: For an unknown name or setting, or a value out of range.
        FileExistsError: If the folder exists.
        TrainingError: If the loss is not finite; the run then says "failed".

    Example:

    >>> import zoo
    >>> run = zoo.train("plain_mlp_digits", out="runs/plain", epochs=1)  # doctest: +SKIP
    >>> run.results["test_accuracy"]  # doctest: +SKIP
    """
    chosen = get_recipe(recipe)
    if data is not None:
        overrides["source"] = data.name if isinstance(data, Source) else data
    chosen = chosen.changed(overrides)
    folder = Path("runs") / chosen.name if out is None else Path(out)
    refuse_existing(folder, overwrite)
    source = load_source(chosen.source if data is None else data)
    with _precision(chosen.precision):
        keras.utils.set_random_seed(chosen.seed)
        model = build(
            chosen.network,
            input_shape=_network_shape(source),
            classes=source.classes,
            **{"weight_decay": chosen.optimizer.weight_decay, **chosen.arguments},
        )
        run = start_run(folder, _record(chosen, overrides, source))
        try:
            results = _fit(run, model, source, callbacks)
            return update(run, status="complete", finished=_now(), results=results)
        except BaseException as error:
            update(run, status="failed", finished=_now(), reason=str(error) or type(error).__name__)
            raise


def evaluate(
    run_or_model: "Run | str | Path | keras.Model", data: str | Source | None = None
) -> dict[str, float | int]:
    """Loss and accuracy on a source's test images.

    Args:
        run_or_model: A run or its folder, whose own preprocessing is used; or a model of logits, with the source's.
        data: The name of a data source, or a `Source`. Default: the one that the run was trained on.

    Returns:
        "loss" (cross-entropy), "accuracy" and "examples".

    Raises:
        ValueError: If there is no such run or source, or if the two do not fit.

    Example:

    >>> import zoo
    >>> model = zoo.build("plain_mlp", input_shape=(8, 8, 1))
    >>> zoo.evaluate(model, data="digits")["examples"]
    359
    """
    if isinstance(run_or_model, keras.Model):
        if data is None:
            raise ValueError("Expected data for a model, such as data='digits'. Received: data=None")
        model, source = run_or_model, load_source(data)
        preprocessing = source.preprocessing
    else:
        run = open_run(run_or_model)
        model, source = load(run.path), load_source(run.source["name"] if data is None else data)
        preprocessing = Preprocessing.from_dict(run.source["preprocessing"])
    shape = _network_shape(source)
    fits = all(ours in (None, theirs) for ours, theirs in zip(model.input_shape[1:], shape, strict=True))
    if not fits or model.output_shape[-1] != source.classes:
        raise ValueError(
            f"Expected images of shape {model.input_shape[1:]} in {model.output_shape[-1]} classes. "
            f"Received: {source.name}, with images of shape {shape} in {source.classes} classes"
        )
    judge = keras.Model(model.inputs, model.outputs)
    judge.compile(loss="categorical_crossentropy", metrics=metrics(), jit_compile=jit_compile())
    batches = _test_batches(source, preprocessing)
    figures = judge.evaluate(batches, return_dict=True, verbose=0)
    return {
        "loss": figures["cross_entropy"],
        "accuracy": figures["accuracy"],
        "examples": len(source.test_images),
    }


def _fit(run: Run, model: keras.Model, source: Source, callbacks: Sequence[keras.callbacks.Callback]) -> dict:
    recipe = run.recipe
    batches = Batches(
        source.train_images,
        source.train_labels,
        source.classes,
        source.preprocessing,
        recipe.batch_size,
        seed=recipe.seed,
        augmentation=recipe.augment,
    )
    learner = make_learner(model, recipe, steps=recipe.epochs * len(batches))
    history = History(run.path / "history.csv")
    started = time.perf_counter()
    learner.fit(
        batches,
        epochs=recipe.epochs,
        shuffle=False,
        validation_data=_test_batches(source, source.preprocessing),
        verbose=0,
        callbacks=[
            SetEpoch(batches),
            *([UseAverages()] if learner.averages else []),
            StopWhenNotFinite(),
            history,
            Events(run.path / "tensorboard", history),
            Checkpoint(run.path / "checkpoints"),
            *callbacks,
        ],
    )
    seconds = time.perf_counter() - started
    if learner.averages:
        learner.swap()
    with replacing(run.model_path) as beside:
        model.save(beside)
    last = history.rows[-1]
    return {
        "test_accuracy": last["test_accuracy"],
        "test_loss": last["test_loss"],
        "train_accuracy": last["accuracy"],
        "parameters": count(model.trainable_variables),
        "seconds": round(seconds, 1),
        "images_per_second": round(recipe.epochs * len(source.train_images) / seconds, 1),
    }


def _test_batches(source: Source, preprocessing: Preprocessing) -> Batches:
    return Batches(source.test_images, source.test_labels, source.classes, preprocessing, EVALUATION_BATCH)


def _network_shape(source: Source) -> tuple[int, ...]:
    height, width, channels = source.input_shape
    first = keras.config.image_data_format() == "channels_first"
    return (channels, height, width) if first else (height, width, channels)


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _record(recipe: Recipe, overrides: dict[str, Any], source: Source) -> dict[str, Any]:
    return {
        "recipe": recipe.as_dict(),
        "overrides": {name: plain(value) for name, value in overrides.items()},
        "seed": recipe.seed,
        "source": {
            "name": source.name,
            "class_names": list(source.class_names),
            "preprocessing": source.preprocessing.as_dict(),
        },
        "versions": _versions(),
        "revision": revision(),
        "status": "running",
        "started": _now(),
        "results": {},
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "backend": keras.backend.backend()}
    for package in ("keras-skip", "keras", keras.backend.backend(), "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
