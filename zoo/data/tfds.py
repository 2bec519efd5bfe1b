"""Loads data sources of TensorFlow Datasets, which prepares and keeps them itself.

They are read into memory, or streamed from ArrayRecord files.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import from_arrays
from .decoding import SizesDifferError
from .options import Options, Progress
from .source import Source
from .streaming.source import LIMIT, from_photos

SPLITS = ("train", "validation", "test")


def from_tfds(name: str, options: Options, cache_in: Path | None, progress: Progress | None) -> Source:
    """Loads the source "tfds:NAME", with an image and a label in each example, in the splits "train" and "test".

    "validation" is used too, and is for testing if there is no "test". Without both, a part of each class is split off.

    Raises:
        ValueError: If TensorFlow Datasets is not installed, or the data are not labelled images of one size.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ValueError(f"{name!r} needs TensorFlow Datasets: pip install tensorflow-datasets ({error})") from None
    try:
        builder = tensorflow_datasets.builder(name.removeprefix("tfds:"))
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise ValueError(
            f"Expected tfds: and a name of TensorFlow Datasets. Received: {name!r}: {str(error).splitlines()[0]}"
        ) from None
    info = builder.info
    if not {"image", "label"} <= set(info.features or ()):
        raise ValueError(
            f"Expected a data set with the features image and label. "
            f"Received: {name!r}, with {', '.join(info.features or ())}"
        )
    if options.stream or (options.stream is None and _bytes_decoded(info, options) > LIMIT):
        return _stream(name, options, cache_in, progress)
    # Before this the builder may not know its splits.
    builder.download_and_prepare()
    if "train" not in builder.info.splits:
        raise ValueError(f"Expected a split train. Received: {name!r}, with {', '.join(builder.info.splits)}")
    splits = [split for split in SPLITS if split in builder.info.splits]
    total = sum(builder.info.splits[split].num_examples for split in splits)
    arrays: dict[str, np.ndarray] = {}
    done = 0
    for split in splits:
        images: list[np.ndarray] = []
        labels: list[int] = []
        for example in tensorflow_datasets.as_numpy(builder.as_dataset(split=split)):
            images.append(_check_size(name, example["image"], images, options))
            labels.append(int(example["label"]))
            done += 1
            if progress:
                progress(done, total)
        target = "test" if split == "validation" and "test" not in splits else split
        arrays[f"x_{target}"], arrays[f"y_{target}"] = np.stack(images), np.array(labels)
    return from_arrays(name, arrays, options, class_names=info.features["label"].names)


def _bytes_decoded(info: Any, options: Options) -> int:
    """The bytes of all images, decoded; 0 if their size is known only after reading them."""
    size = options.image_size or info.features["image"].shape[:2]
    return 0 if None in size else math.prod(size) * 3 * sum(split.num_examples for split in info.splits.values())


def _stream(name: str, options: Options, cache_in: Path | None, progress: Progress | None) -> Source:
    import tensorflow_datasets

    builder = tensorflow_datasets.builder(name.removeprefix("tfds:"), file_format="array_record")
    builder.download_and_prepare()
    splits = ",".join(split for split in SPLITS if split in builder.info.splits)
    files = Path(builder.data_dir) / f"*-{{{splits}}}.array_record*"
    source = from_photos(files, replace(options, stream=True), cache_in, progress)
    assert source is not None
    return replace(source, name=name)


def _check_size(name: str, image: np.ndarray, others: list[np.ndarray], options: Options) -> np.ndarray:
    if options.image_size is not None:
        return options.reader(image)
    if others and image.shape != others[0].shape:
        raise SizesDifferError(
            f"Expected images of one size in {name!r}, or image_size=(height, width) to resize them to. "
            f"Received: {others[0].shape[:2]} and {image.shape[:2]}"
        )
    return image
