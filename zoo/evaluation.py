"""Evaluation: loss and accuracy of a network on a part of a source."""

from pathlib import Path

import keras

from .data import Batches, Preprocessing, Source, load_source
from .devices import Devices
from .learner import jit_compile, look_at, metrics
from .loading import load
from .runs import Run, open_run

EVALUATION_BATCH = 256


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
        model, source = load(run.path), load_source(run.source if data is None else data)
        preprocessing = Preprocessing.from_dict(run.source["preprocessing"])
    shape = network_shape(source)
    fits = all(ours in (None, theirs) for ours, theirs in zip(model.input_shape[1:], shape, strict=True))
    if not fits or model.output_shape[-1] != source.classes:
        raise ValueError(
            f"Expected images of shape {model.input_shape[1:]} in {model.output_shape[-1]} classes. "
            f"Received: {source.name}, with images of shape {shape} in {source.classes} classes"
        )
    judge = keras.Model(model.inputs, model.outputs)
    judge.compile(loss="categorical_crossentropy", metrics=metrics(), jit_compile=jit_compile())
    batches = evaluation_batches(source, preprocessing)
    look_at(judge, batches)
    figures = judge.evaluate(batches, return_dict=True, verbose=0)
    return {
        "loss": figures["cross_entropy"],
        "accuracy": figures["accuracy"],
        "examples": len(source.test_images),
    }


def evaluation_batches(
    source: Source, preprocessing: Preprocessing, part: str = "test", devices: Devices | None = None
) -> Batches:
    """The test images, or the validation images, in order and as they are; with `devices`, for them to share."""
    images, labels = getattr(source, f"{part}_images"), getattr(source, f"{part}_labels")
    if devices is None:
        return Batches(images, labels, source.classes, preprocessing, EVALUATION_BATCH)
    size = devices.even(EVALUATION_BATCH)
    return Batches(images, labels, source.classes, preprocessing, size, shard=devices.hosts.shard)


def network_shape(source: Source) -> tuple[int, ...]:
    """The shape of an image, in the order of `keras.config.image_data_format()`."""
    height, width, channels = source.input_shape
    first = keras.config.image_data_format() == "channels_first"
    return (channels, height, width) if first else (height, width, channels)
