"""Loads data sources by name or from files.

A new named source is a function in `SOURCES` of named.py, a new format of arrays a reader in arrays.py.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.table_files import read_table

from .arrays import ARRAY_FILES
from .cache import cache_folder
from .datasets import Data, from_memory, is_unnamed
from .finding import find_path
from .image_files import from_files
from .image_tables import from_image_tables
from .like import channels_like, is_other, split_like, tables_like
from .masks import from_masks, has_masks
from .named import SOURCES
from .options import Options, Progress
from .source import Source
from .streaming.photos import Photos
from .streaming.source import can_stream, from_photos
from .tables import check_columns, content, from_tables, read_tables, table_files
from .targets import file_column


def load_source(
    name: "str | Path | Source | Data",
    *,
    image_size: tuple[int, int] | None = None,
    resize: str = "crop",
    split_seed: int = 0,
    test_fraction: float = 0.2,
    on_bad_image: str = "error",
    target: str | Sequence[str] | None = None,
    task: str | None = None,
    split_column: str | None = None,
    columns: Mapping[str, str] | None = None,
    shorter: int | None = None,
    stream: bool | None = None,
    like: Mapping[str, Any] | None = None,
    cache: str | Path | bool | None = None,
    progress: Progress | None = None,
) -> Source:
    """Loads a data source by its name, from files, or from data in memory.

    The files may be

    - a folder, .tar (also .gz, .xz, .bz2) or .zip of images in class folders: train/CLASS/ and test/CLASS/, with val/,
      valid/ or validation/ next to or instead of test/; or only CLASS/, and then a part of each class is set aside for
      testing;
    - tar shards: a folder of .tar files, or a pattern such as "photos/train-{000..146}.tar" or "photos/*.tar". They
      hold class folders, or KEY.jpg with KEY.cls (a whole number or the name of a class), or with KEY.json, whose
      "label" is that; names of shards or of their folders say the part, such as train or test: `zoo.data.streaming`;
    - CIFAR-10 or CIFAR-100 as its authors publish it ("python version"), as a folder or archive;
    - a folder of images/ and masks/, with a mask of the same name for each image: `zoo.data.masks`;
    - a table as .csv, .tsv (also with .gz) or .parquet, or a folder of train.csv and test.csv: `zoo.data.kinds`;
    - a table with a column of image files, whose paths are relative to the table;
    - an .npz with x_train, y_train, x_test and y_test (also x_val, y_val, and class_names), of any rank.

    Images are decoded once, into a cache that is mapped into memory; archives are never unpacked to disk. If the images
    of a folder or of .tar files would take more than 4 GB decoded, they are streamed: they stay encoded, and each is
    decoded, in colour, when a batch needs it. Their preprocessing is fitted to a thousand of them. Palettes and CMYK
    become RGB, 16 bits are scaled to 8, transparent pixels become white, the rotation in EXIF is applied, and an
    animation gives its first frame. All images are grey, or all are RGB.

    Data in memory are a dictionary with x_train and y_train, as in an .npz; a pair (x, y); or a data set, which is read
    into memory once, in its order: a `keras.utils.PyDataset`, a batched `tf.data.Dataset`, or a `DataLoader` of torch.
    One-hot targets are classes.

    Args:
        name: One that needs no download ("digits", "digits_signals", "digits_masks", "wine", "breast_cancer",
            "diabetes"), or "mnist", "fashion_mnist", "cifar10", "cifar100", "tfds:NAME" for TensorFlow Datasets, or a
            path; or data in memory. The result of `Source.as_dict` loads the same data again, if they have a name or a
            path. A `Source` is returned as it is.
        image_size: Height and width to resize all images to, bicubic with antialiasing.
        resize: "crop" resizes the shorter side and cuts out the centre; "stretch" takes the whole image and changes
            its proportions.
        split_seed: The seed that chooses test examples if the files do not say which they are.
        test_fraction: The fraction to choose, the same of each class.
        on_bad_image: "error" raises an error that lists the images that cannot be read; "skip" skips them with a
            warning. To find those among streamed images, all of them are decoded once before the first index.
        target: The column of a table to predict; several, as a sequence or separated by commas, for a regression.
        task: "classification", "regression" or "segmentation". Default: text, a few different whole numbers and integer
            arrays are classes; other numbers are a regression.
        split_column: The column of a table whose values are train, validation or test.
        columns: The kinds of columns of a table that differ from those that would be inferred: "number", "date",
            "category", or "ignore" to leave one out.
        shorter: The shorter side to which images are resized before the centre crop, such as 256 for an `image_size`
            of 224. Default: as little as possible is cropped. Arrays that have `image_size` already stay as they are.
        stream: True leaves images in a folder or in shards encoded, False decodes all of them into the cache. Default:
            True if they would take more than 4 GB decoded.
        like: A record from `Source.as_dict`. Images are resized to its size if `image_size` is None, and are grey or in
            colour as its are; a table is read with its target, columns and classes, and masks with its classes. Other
            files than those of the record are all for testing, unless they say which examples are; its own are split
            as it says.
        cache: The folder of the cache; False keeps the images in memory. Default: KERAS_SKIP_CACHE, or the cache folder
            of the platform.
        progress: Called with how much is read and how much there is: files, or bytes of a tar.

    Returns:
        The source, with its images in memory or mapped into it. Its `image` reads other image files in the same way.

    Raises:
        ValueError: If there is no such source, or its files are wrong.
        OSError: If it cannot be read or downloaded, or the disk of the cache is full.

    Example:

    >>> import zoo
    >>> zoo.load_source("digits").input_shape
    (8, 8, 1)
    """
    if isinstance(name, Source):
        return name
    if isinstance(name, Mapping) and "x_train" not in name:
        return _load_recorded(name, cache=cache, progress=progress)
    given: dict[str, Any] = {"target": target, "task": task, "split_column": split_column, "columns": columns}
    given = tables_like(name, given, like or {})
    if image_size is None and like and (read := like.get("options", {})).get("image_size"):
        image_size, resize = tuple(read["image_size"]), read.get("resize", "stretch")
        shorter = read.get("shorter") if shorter is None else shorter
    whole = like is not None and is_other(name, like)
    if like is not None and not whole:
        split_seed, test_fraction = split_like(like, (split_seed, test_fraction))
    given |= {"shorter": shorter, "stream": stream, "whole": whole}
    given |= {"channels": channels_like(like or {}, whole, stream)}
    options = Options(image_size, resize, split_seed, test_fraction, on_bad_image, **given)
    source = _record_reader(_resize(_read(name, options, cache, progress, like), options), options)
    if options.task not in (None, source.task):
        raise ValueError(f"Expected the task of {source.name!r} to be {source.task}. Received: task={options.task!r}")
    options = replace(options, stream=isinstance(source.train_inputs, Photos), whole=False)
    return replace(source, origin={**source.origin, "options": options.as_dict()})


def check_source(
    name: str | Path | Mapping[str, Any],
    *,
    image_size: tuple[int, int] | None = None,
    resize: str = "crop",
    on_bad_image: str = "error",
    target: str | Sequence[str] | None = None,
    task: str | None = None,
    split_column: str | None = None,
    columns: Mapping[str, str] | None = None,
    shorter: int | None = None,
    stream: bool | None = None,
    like: Mapping[str, Any] | None = None,
) -> None:
    """Raises the errors of `load_source` for wrong names, paths and options, without reading more than names."""
    if isinstance(name, Mapping):
        _refuse_unnamed(name["name"])
    path = find_path(name["name"] if isinstance(name, Mapping) else name)
    given: dict[str, Any] = {"target": target, "task": task, "split_column": split_column, "columns": columns}
    if not isinstance(name, Mapping):
        given = tables_like(name, given, like or {})
    options = Options(image_size, resize, on_bad_image=on_bad_image, **given, shorter=shorter, stream=stream)
    if isinstance(name, Mapping):
        return
    files = table_files(path) if path else {}
    _refuse_stream(name, path, options)
    if not files and like is None:
        _refuse_options_of_tables(name, options)
    for file in files.values():
        check_columns(read_table(file, most=1), options, like)


def _refuse_options_of_tables(name: object, options: Options) -> None:
    if given := options.of_tables:
        raise ValueError(f"Expected {' and '.join(given)} only for a table. Received: {str(name)!r} with {given}")


def _refuse_stream(name: object, path: Path | None, options: Options) -> None:
    if options.stream and not str(name).startswith("tfds:") and (path is None or not can_stream(path)):
        raise ValueError(
            f"Expected stream=True only for a folder of images, .tar or ArrayRecord files. Received: {str(name)!r}"
        )


def _read(
    name: Any,
    options: Options,
    cache: str | Path | bool | None,
    progress: Progress | None,
    like: Mapping[str, Any] | None,
) -> Source:
    if not isinstance(name, (str, os.PathLike)):
        _refuse_options_of_tables("data in memory", options)
        _refuse_stream("data in memory", None, options)
        return from_memory(name, options)
    path = find_path(name)
    is_of_tables = path is not None and bool(table_files(path))
    if not is_of_tables and like is None:
        _refuse_options_of_tables(name, options)
    _refuse_stream(name, path, options)
    folder = None if cache is False else cache_folder() if cache is None or cache is True else Path(cache)
    if path is None:
        if name in SOURCES:
            if Path(name).is_dir():
                warnings.warn(f"{name!r} is the data set of this name; the folder would be './{name}'", stacklevel=3)
            return SOURCES[str(name)]()
        from .tfds import from_tfds

        return from_tfds(str(name), options, folder, progress)
    if (read_arrays := ARRAY_FILES.get(path.suffix.lower())) is not None:
        return read_arrays(path, options)
    if is_of_tables:
        tables = read_tables(path, options, like)
        if file_column(next(iter(tables.values()))) is None:
            return replace(from_tables(str(path), tables, options, like), origin={"content": content(path)})
        return from_image_tables(path, tables, options, folder, progress, like)
    if has_masks(path):
        return from_masks(path, options, folder, progress, like)
    return from_photos(path, options, folder, progress) or from_files(path, options, folder, progress)


def _load_recorded(record: Mapping[str, Any], cache: str | Path | bool | None, progress: Progress | None) -> Source:
    """Loads the data of a record from `Source.as_dict` again, and checks that they have not changed."""
    _refuse_unnamed(record["name"])
    options = record.get("options", {})
    # Records from before there was a choice say nothing of it.
    options = {"resize": "stretch", "stream": False, **options} if options else {}
    options.pop("channels", None)  # `like` has them
    source = load_source(record["name"], **options, like=record, cache=cache, progress=progress)
    if "validation" in record:
        source = source.with_validation(**record["validation"])
    if record.get("fingerprint", source.fingerprint) != source.fingerprint:
        raise ValueError(
            f"Expected the data of the record, with the fingerprint {record['fingerprint']}. "
            f"Received: {source.name!r}, which has changed since, with the fingerprint {source.fingerprint}"
        )
    return source


def _refuse_unnamed(name: str) -> None:
    """Raises a ValueError for the name in a record of data that were only in memory."""
    if is_unnamed(name):
        raise ValueError(
            "Expected data=, the arrays or the data set that the run was trained on, since they have no name. "
            "Received: data=None"
        )


def _resize(source: Source, options: Options) -> Source:
    is_sized = options.image_size in (None, source.input_shape[:2])
    if is_sized and (not _has_images(source) or options.channels in (None, source.input_shape[-1])):
        return source
    if not _has_images(source):
        raise ValueError(
            f"Expected image_size only for images. Received: image_size={options.image_size} for {source.name!r}, "
            f"with inputs of shape {source.input_shape}"
        )
    resized: dict[str, Any] = {
        f"{part}_inputs": np.stack([options.reader(image) for image in getattr(source, f"{part}_inputs")])
        for part in source.parts
    }
    if source.task == "segmentation":
        nearest = options.mask_reader
        resized |= {
            f"{part}_targets": np.stack([nearest(mask)[..., 0] for mask in getattr(source, f"{part}_targets")])
            for part in source.parts
        }
    return replace(source, **resized)


def _has_images(source: Source) -> bool:
    inputs = source.train_inputs
    return inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[-1] in (1, 3)


def _record_reader(source: Source, options: Options) -> Source:
    """Records how a file becomes an input, if the inputs are images with pixels from 0 to 255."""
    inputs = source.train_inputs
    if not _has_images(source) or source.image is not None or source.preprocessing.scale != 1 / 255:
        return source
    return replace(source, image=replace(options.reader, size=inputs.shape[1:3], channels=inputs.shape[-1]))
